"""The original's sampling loop in plain torch, without its progress bars.

As in the original the networks are evaluated with all they need at every step, and the value's gradient is made by
autograd at every guide step of every row. It takes our noise, so its plans can be compared with an engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.checkpoint import Checkpoint
from ..core.conditions import Inpainting
from ..core.loop import SamplingLoop
from .eager import EagerValue, eager_network


def value_gradient(value: EagerValue, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Values ``[B]`` and the gradient of their sum with respect to ``x [B, H, D]``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        values = value(x, t)
        (gradient,) = torch.autograd.grad(values.sum(), x)
    return values.detach(), gradient


class EagerLoop:
    """The whole plan: ``(known, noise) -> (x [N, H, D], values [N])``, float32 tensors on ``device``, in sample order.

    watch: called with the values after every row, as the original calls its progress bar.
    """

    def __init__(
        self, checkpoint: Checkpoint, loop: SamplingLoop, batch: int, device: str = "cpu",
        watch: Callable[[Tensor], object] | None = None,
    ) -> None:  # fmt: skip
        if loop.steps.g0.any():
            raise ValueError("eager: the original does not move x0 by a gradient (column g0)")
        self.loop, self.batch, self.device, self.watch = loop, batch, device, watch
        self.net = eager_network(checkpoint.unet).to(device)
        self.value = eager_network(checkpoint.value).to(device) if loop.guide else None
        self.column = {name: self._tensor(getattr(loop.steps, name)) for name in "pqabds"}
        self.gx = self._tensor(loop.steps.gx)
        self.clip = None if loop.clip is None else [self._tensor(bound) for bound in loop.clip]
        # The original looks at the value in every row, also where its gradient is then multiplied by zero.
        self.guide_steps = int(loop.steps.guide_steps.max())

    def __call__(self, known: Inpainting, noise: NDArray | Tensor | None = None) -> tuple[Tensor, Tensor]:
        """noise: a tape ``[R + 1, N, H, D]``, or None for torch's own."""
        mask, given = (torch.from_numpy(array).to(self.device) for array in (known.mask, known.values))
        return self.sample(mask, given, None if noise is None else torch.as_tensor(noise).to(self.device))

    @torch.no_grad()
    def sample(self, mask: Tensor, given: Tensor, tape: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same from tensors that are on the device already: mask bool ``[H, D]``, given ``[1 or N, H, D]``."""
        shape = (self.batch, self.loop.horizon, self.loop.transition_dim)
        c, x0 = self.column, torch.zeros(shape, device=self.device)
        values = torch.zeros(self.batch, device=self.device)
        x = torch.where(mask, given, torch.randn(shape, device=self.device) if tape is None else tape[0])
        for k, step in enumerate(self.loop.steps.t.tolist()):
            t = torch.full((self.batch,), step, dtype=torch.long, device=self.device)
            for _ in range(self.guide_steps):
                values, gradient = value_gradient(self.value, x, t)
                x = torch.where(mask, given, x + self.gx[k] * gradient)
            if self.value is not None and not self.guide_steps and k == self.loop.rows - 1:
                values = self.value(x, t)
            before = x0
            x0 = c["p"][k] * x + c["q"][k] * self.net(x, t)
            x0 = x0 if self.clip is None else torch.clamp(x0, *self.clip)
            fresh = torch.randn_like(x) if tape is None else tape[k + 1]
            x = torch.where(mask, given, c["a"][k] * x0 + c["b"][k] * x + c["d"][k] * before + c["s"][k] * fresh)
            if self.watch is not None:
                self.watch(values)
        return x, values

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.tensor(array, dtype=torch.float32, device=self.device)


def threads(count: int) -> Mapping[str, int]:
    """Set torch's threads; returns what they were, as keywords of this function."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    return {"count": before}
