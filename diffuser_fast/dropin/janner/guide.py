"""The original's guide and guided step, for those who have its networks only (Janner et al. 2022, algorithm 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ValueGuide(nn.Module):
    """A value network ``(x, cond, t) -> [B, 1]`` and its gradient with respect to the plans x ``[B, H, D]``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, cond: Any, t: Tensor) -> Tensor:
        """Values ``[B]``."""
        return self.model(x, cond, t).squeeze(-1)

    def gradients(self, x: Tensor, cond: Any, t: Tensor) -> tuple[Tensor, Tensor]:
        """Values ``[B]`` and the gradient of their sum ``[B, H, D]``."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = self(x, cond, t)
            return values.detach(), torch.autograd.grad(values.sum(), x)[0]


@torch.no_grad()
def n_step_guided_p_sample(
    model: Any, x: Tensor, cond: Any, t: Tensor, guide: Any, scale: float = 0.001, t_stopgrad: float = 0,
    n_guide_steps: int = 1, scale_grad_by_std: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One denoising step of a diffusion ``model``, after steps up the value's gradient; the values before the last."""
    variance = model.posterior_log_variance_clipped[t].exp()[:, None, None]
    moves = (t >= t_stopgrad)[:, None, None] * scale * (variance if scale_grad_by_std else 1.0)
    for _ in range(n_guide_steps):
        values, gradient = guide.gradients(x, cond, t)
        x = x + moves * gradient
        for time, observation in cond.items():
            x[:, time, model.action_dim :] = observation
    mean, _, log_variance = model.p_mean_variance(x=x, cond=cond, t=t)
    noise = torch.randn_like(x) * (t > 0)[:, None, None]
    return mean + (0.5 * log_variance).exp() * noise, values
