"""The original's GaussianDiffusion by itself: called with normalised conditions, it returns normalised trajectories."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.checkpoint import Checkpoint
from ...core.normalizers import Gaussian, Normalizers
from ..modules import unwrapped
from ..subject import Plan
from .parts import Parts

if TYPE_CHECKING:
    from torch import Tensor


class Sample(NamedTuple):
    """What the main branch's diffusion returns; tensors, best value first but for the chains."""

    trajectories: Any  # [B, H, D]
    values: Any  # [B]
    chains: Any  # [B, T + 1, H, D] in the order of sampling, or None


class DiffusionSubject(Parts):
    """A diffusion, with the guide and the sampling arguments that its calls have if they give no others."""

    methods = ("forward", "conditional_sample")

    def __init__(self, diffusion: Any, guide: Any = None, arguments: Mapping[str, Any] | None = None) -> None:
        self.target = diffusion
        self._given = {**({} if guide is None else {"guide": guide}), **(arguments or {})}
        self._now = self._given  # of the last call
        main = "sample_fn" in inspect.signature(unwrapped(diffusion).p_sample_loop).parameters
        self._returns_values = main

    @property
    def _wrapped_diffusion(self) -> Any:
        return self.target

    @property
    def _any_guide(self) -> Any:
        return self._now.get("guide")

    @property
    def _arguments(self) -> Mapping[str, Any]:
        return {name: value for name, value in self._now.items() if name != "guide"}

    def _normalizers(self) -> Normalizers:
        sizes = (int(self.diffusion.transition_dim) - int(self.diffusion.action_dim), int(self.diffusion.action_dim))
        return Normalizers(*(Gaussian(np.zeros(size), np.ones(size)) for size in sizes))

    def _statistics(self) -> tuple[Any, ...]:
        return ()

    def call(
        self, plan: Plan, cond: Mapping[int, Any], horizon: int | None = None, *, verbose: bool = True,
        return_chain: bool = False, **kwargs: Any,
    ) -> Sample | Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        """``(cond, horizon=None, ...)``: cond ``{time: [B, O]}``, normalised; a plan for each of the B.

        Returns what the diffusion does: a Sample, or of the maze2d branch the trajectories, with their chains if asked.
        """
        import torch

        asked = {**kwargs, "horizon": horizon}
        self._now = {**self._given, **{name: value for name, value in asked.items() if value is not None}}
        plans = plan({t: _array(t, obs) for t, obs in cond.items()}, 1, return_chain=return_chain)
        x = np.concatenate((plans.actions, plans.observations), axis=-1)[:, 0]
        order = np.argsort(-plans.values[:, 0], kind="stable")
        chains = None if plans.chain is None else torch.from_numpy(plans.chain[:, 0]).to(self.device)
        values = torch.from_numpy(plans.values[order, 0]).to(self.device)
        x = torch.from_numpy(x[order]).to(self.device)
        if self._returns_values:
            return Sample(x, values, chains)
        return x if chains is None else (x, chains)

    def original(self, cond: Mapping[int, Tensor], **kwargs: Any) -> Any:
        """The diffusion's own call, with the arguments that calls have now."""
        subject = self.in_float32()
        return subject.target({t: obs.to(self.device) for t, obs in cond.items()}, verbose=False, **subject._now)

    def example(
        self, checkpoint: Checkpoint, conditions: Mapping[int, Any] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """One plan with the arguments that calls have now; conditions are normalised here."""
        import torch

        if conditions is None:
            conditions = {0: np.random.default_rng(0).uniform(-0.8, 0.8, checkpoint.observation_dim)}
        cond = {t: torch.as_tensor(np.asarray(obs, np.float32)).reshape(1, -1) for t, obs in conditions.items()}
        return (cond,), dict(self._now)

    def compared(self, result: Any, checkpoint: Checkpoint) -> dict[str, NDArray]:
        """As it is."""
        if not self._returns_values:
            return {"trajectories": result.detach().cpu().numpy()}
        found = {"trajectories": result.trajectories, "values": result.values}
        return {name: tensor.detach().cpu().numpy().astype(np.float64) for name, tensor in found.items()}


def _array(t: int, obs: Any) -> NDArray[np.float64]:
    array = obs.detach().cpu().double().numpy() if hasattr(obs, "detach") else np.asarray(obs, np.float64)
    if array.ndim != 2:
        raise ValueError(f"cond[{t!r}]: expected normalised observations of shape [B, O], found {list(array.shape)}")
    return array
