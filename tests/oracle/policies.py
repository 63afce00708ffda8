"""Look-alikes of the original's run-time objects: same attributes, same calls, same return values.

They exist so that a drop-in replacement, which may only look at attributes, has something to be dropped into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .diffusion import GaussianDiffusion, Maze2dGaussianDiffusion, ValueDiffusion
from .normalizers import DatasetNormalizer, GaussianNormalizer, LimitsNormalizer

__all__ = [
    "DatasetNormalizer",
    "GaussianDiffusion",
    "GaussianNormalizer",
    "GuidedPolicy",
    "LimitsNormalizer",
    "Maze2dGaussianDiffusion",
    "Maze2dTrajectories",
    "Policy",
    "Trajectories",
    "ValueDiffusion",
    "ValueGuide",
]


class Trajectories(NamedTuple):
    """Plans in physical units, main layout, best first."""

    actions: np.ndarray  # [B, H, A]
    observations: np.ndarray  # [B, H, O]
    values: Tensor  # [B]


class Maze2dTrajectories(NamedTuple):
    """Plans in physical units, maze2d layout. Two fields: callers unpack it."""

    actions: np.ndarray  # [B, H, A]
    observations: np.ndarray  # [B, H, O]


class ValueGuide(nn.Module):
    """What guides plans to high returns: a value network and its gradient with respect to the plan."""

    def __init__(self, model: ValueDiffusion) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, cond: object, t: Tensor) -> Tensor:
        """Values [B]."""
        return self.model(x, cond, t).squeeze(dim=-1)

    def gradients(self, x: Tensor, cond: object, t: Tensor) -> tuple[Tensor, Tensor]:
        """Values [B] and d sum(values)/dx [B, H, D], detached; x itself is left alone."""
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            values = self(leaf, cond, t)
            (grad,) = torch.autograd.grad(values.sum(), leaf)
        return values.detach(), grad


class GuidedPolicy:
    """Main layout: condition -> guided plans -> first action of the best one."""

    def __init__(
        self,
        guide: ValueGuide | None,
        diffusion_model: GaussianDiffusion,
        normalizer: DatasetNormalizer,
        preprocess_fns: Iterable[Callable[[np.ndarray], np.ndarray]] = (),
        **sample_kwargs: object,
    ) -> None:
        self.guide = guide
        self.diffusion_model = diffusion_model
        self.normalizer = normalizer
        self.action_dim = diffusion_model.action_dim
        self.preprocess_fn = compose(preprocess_fns)
        self.sample_kwargs = sample_kwargs

    def __call__(
        self, conditions: Mapping[int, np.ndarray], batch_size: int = 1, verbose: bool = True
    ) -> tuple[np.ndarray, Trajectories]:
        """conditions {time: observation [O], physical units} -> action [A], batch_size plans."""
        preprocessed = {t: self.preprocess_fn(obs) for t, obs in conditions.items()}
        cond = self._format_conditions(preprocessed, batch_size)
        guide = {} if self.guide is None else {"guide": self.guide}  # the unguided step takes no guide
        sample = self.diffusion_model(cond, verbose=verbose, **guide, **self.sample_kwargs)
        actions, observations = split(sample.trajectories, self.action_dim, self.normalizer)
        return actions[0, 0], Trajectories(actions, observations, sample.values)

    def _format_conditions(self, conditions: Mapping[int, np.ndarray], batch_size: int) -> dict[int, Tensor]:
        """A method of its own, because that is where users change a policy."""
        return format_conditions(conditions, batch_size, self.normalizer, self.diffusion_model)


class Policy:
    """Maze2d layout: conditions -> unguided plans -> first action of the first one."""

    def __init__(self, diffusion_model: Maze2dGaussianDiffusion, normalizer: DatasetNormalizer) -> None:
        self.diffusion_model = diffusion_model
        self.normalizer = normalizer
        self.action_dim = normalizer.action_dim

    def __call__(
        self, conditions: Mapping[int, np.ndarray], debug: bool = False, batch_size: int = 1
    ) -> tuple[np.ndarray, Maze2dTrajectories]:
        """conditions {time: observation [O], physical units} -> action [A], batch_size plans."""
        cond = format_conditions(conditions, batch_size, self.normalizer, self.diffusion_model)
        trajectories = self.diffusion_model(cond)
        actions, observations = split(trajectories, self.action_dim, self.normalizer)
        return actions[0, 0], Maze2dTrajectories(actions, observations)


def format_conditions(
    conditions: Mapping[int, np.ndarray],
    batch_size: int,
    normalizer: DatasetNormalizer,
    diffusion: GaussianDiffusion,
) -> dict[int, Tensor]:
    """{time: [O] physical} -> {time: [B, O] normalised}, in the diffusion's dtype and on its device."""
    cond = {}
    for time, observation in conditions.items():
        normed = torch.as_tensor(normalizer.normalize(observation, "observations")).to(diffusion.betas)
        cond[time] = normed.repeat(batch_size, 1)
    return cond


def split(x: Tensor, action_dim: int, normalizer: DatasetNormalizer) -> tuple[np.ndarray, np.ndarray]:
    """Normalised trajectories [B, H, D] -> physical actions [B, H, A] and observations [B, H, O]."""
    array = x.detach().cpu().numpy()
    actions = normalizer.unnormalize(array[:, :, :action_dim], "actions")
    return actions, normalizer.unnormalize(array[:, :, action_dim:], "observations")


def compose(functions: Iterable[Callable[[np.ndarray], np.ndarray]]) -> Callable[[np.ndarray], np.ndarray]:
    """One function that applies each in turn."""
    functions = tuple(functions)

    def composed(x: np.ndarray) -> np.ndarray:
        for function in functions:
            x = function(x)
        return x

    return composed
