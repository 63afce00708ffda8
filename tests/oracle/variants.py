"""What clones of the original and its users' subclasses do otherwise, under the same names and keys.

They stand for what ``accelerate`` must notice: each plans, and none as the main branch does, unless it says so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .diffusion import Conditions, GaussianDiffusion, Maze2dGaussianDiffusion, climb, n_step_guided_p_sample, pick
from .policies import GuidedPolicy, ValueGuide

# ------------------------------------------------------------------------------------------------------- the step


def step_of(climbed: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """A guided step by the main branch's name. climbed: (model, guide, x, cond, t, scale, stop, n) -> x, values."""

    @torch.no_grad()
    def n_step_guided_p_sample(
        model: GaussianDiffusion, x: Tensor, cond: Conditions, t: Tensor, guide: object, scale: float = 0.001,
        t_stopgrad: int = 0, n_guide_steps: int = 1, scale_grad_by_std: bool = True,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        factor = scale if scale_grad_by_std else 0.0
        x, values = climbed(model, guide, x, cond, t, factor, t_stopgrad, n_guide_steps)
        return model.p_sample(x, cond, t), values

    return n_step_guided_p_sample


def _by_std(model, guide, x, cond, t, scale, stop, n):
    return climb(guide, x, cond, t, model.action_dim, scale * pick(model.posterior_variance, t).sqrt(), stop, n)


def by_variance(model, guide, x, cond, t, scale, stop, n):
    """As the main branch."""
    return climb(guide, x, cond, t, model.action_dim, scale * pick(model.posterior_variance, t), stop, n)


def _conditions_forgotten(model, guide, x, cond, t, scale, stop, n):
    return climb(guide, x, {}, t, model.action_dim, scale * pick(model.posterior_variance, t), stop, n)


locomotion_step = step_of(_by_std)  # of the locomotion branch, and of clones from before 17 October 2022
edited_step = step_of(_conditions_forgotten)


@functools.wraps(n_step_guided_p_sample)
def wrapped_step(model: GaussianDiffusion, x: Tensor, cond: Conditions, t: Tensor, **options: object):
    """The step, and then something of one's own."""
    x, values = n_step_guided_p_sample(model, x, cond, t, **options)
    return x.clamp(-0.5, 0.5), values


# ------------------------------------------------------------------------------------------------------- guides


class NegatedGuide(ValueGuide):
    """Seeks low values."""

    def forward(self, x: Tensor, cond: object, t: Tensor) -> Tensor:
        return -super().forward(x, cond, t)


class ClippedGuide(ValueGuide):
    """Bounds its gradient."""

    def gradients(self, x: Tensor, cond: object, t: Tensor) -> tuple[Tensor, Tensor]:
        values, grad = super().gradients(x, cond, t)
        return values, grad.clamp(-0.01, 0.01)


class DistantObstacleGuide(ValueGuide):
    """Adds a cost that is zero wherever plans usually go: on most plans it is a ValueGuide."""

    def forward(self, x: Tensor, cond: object, t: Tensor) -> Tensor:
        return super().forward(x, cond, t) - (x - 50.0).relu().sum(dim=(1, 2))


class TimingGuide(ValueGuide):
    """Counts its calls, and plans as a ValueGuide."""

    calls = 0

    def gradients(self, x: Tensor, cond: object, t: Tensor) -> tuple[Tensor, Tensor]:
        type(self).calls += 1
        return super().gradients(x, cond, t)


def forked_guide(model: nn.Module) -> nn.Module:
    """A class that is called ValueGuide, and halves."""

    class Halved(ValueGuide):
        def gradients(self, x: Tensor, cond: object, t: Tensor) -> tuple[Tensor, Tensor]:
            values, grad = super().gradients(x, cond, t)
            return values, 0.5 * grad

    Halved.__name__ = "ValueGuide"
    return Halved(model)


# ------------------------------------------------------------------------------------------------------- networks


def with_modules(network: nn.Module, replace: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """``network`` with every submodule for which ``replace`` returns another in its place."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            other = replace(child)
            if other is not None:
                other.load_state_dict(child.state_dict())
                setattr(parent, name, other.to(next(network.parameters())).requires_grad_(False))
    return network


def with_groups(network: nn.Module, groups: int) -> nn.Module:
    """Another number of groups in every norm: the same keys and shapes."""
    return with_modules(
        network, lambda m: nn.GroupNorm(groups, m.num_channels) if isinstance(m, nn.GroupNorm) else None
    )


def with_silu(network: nn.Module) -> nn.Module:
    """Another activation: the same keys and shapes."""
    return with_modules(network, lambda m: nn.SiLU() if isinstance(m, nn.Mish) else None)


class Contiguous(nn.Module):
    """A network whose output lies in memory as [B, H, D]: the same plans, from other draws of torch's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.module = network

    def forward(self, x: Tensor, cond: object, t: Tensor) -> Tensor:
        return self.module(x, cond, t).contiguous()


# ------------------------------------------------------------------------------------------------------ diffusions


class CautiousDiffusion(GaussianDiffusion):
    """Its own estimate of x_0."""

    def predict_start_from_noise(self, x: Tensor, t: Tensor, output: Tensor) -> Tensor:
        return 0.9 * super().predict_start_from_noise(x, t, output)


class HalvedNoiseDiffusion(Maze2dGaussianDiffusion):
    """As Decision Diffuser samples (Ajay et al. 2023, its code): with the keys of the maze2d branch, half the noise."""

    def _first_noise(self, shape: tuple[int, int, int], tape: Tensor | None) -> Tensor:
        return 0.5 * super()._first_noise(shape, tape)

    def p_sample(self, x: Tensor, cond: Conditions, t: Tensor, noise: Tensor | None = None) -> Tensor:
        noise = torch.randn_like(x) if noise is None else noise
        return super().p_sample(x, cond, t, 0.5 * noise)


class DropoutDiffusion(GaussianDiffusion):
    """Draws a mask at every step."""

    def p_sample(self, x: Tensor, cond: Conditions, t: Tensor, noise: Tensor | None = None) -> Tensor:
        torch.bernoulli(torch.full((len(x), 1), 0.75))
        return super().p_sample(x, cond, t, noise)


# -------------------------------------------------------------------------------------------------------- policies


class PublishedPolicy(GuidedPolicy):
    """With the device written out, as the original has it. Plans as GuidedPolicy, where there is that device."""

    def _format_conditions(self, conditions: Mapping[int, np.ndarray], batch_size: int) -> dict[int, Tensor]:
        cond = {}
        for time, observation in conditions.items():
            normed = torch.tensor(self.normalizer.normalize(observation, "observations"), dtype=torch.float32)
            cond[time] = normed.to("cuda:0").repeat(batch_size, 1)
        return cond


class RoundingPolicy(GuidedPolicy):
    """Formats its conditions, and something more."""

    def _format_conditions(self, conditions: Mapping[int, np.ndarray], batch_size: int) -> dict[int, Tensor]:
        cond = super()._format_conditions(conditions, batch_size)
        return {time: observation.round(decimals=1) for time, observation in cond.items()}


class GoallessPolicy(GuidedPolicy):
    """Takes no goal: other conditions than at time 0 are an error."""

    def _format_conditions(self, conditions: Mapping[int, np.ndarray], batch_size: int) -> dict[int, Tensor]:
        assert len(conditions) == 1, "a goal given"
        return super()._format_conditions(conditions, batch_size)
