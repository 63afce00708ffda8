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
from ..subject import PLANS, Plan
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
        self._returns_values = _takes_steps(type(unwrapped(diffusion)))

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
        self, plan: Plan, cond: Mapping[int, Any], *args: Any, **kwargs: Any
    ) -> Sample | Tensor | tuple[Tensor, Tensor]:
        """Of the main branch ``(cond, horizon=None, *, return_chain=False, ...)``, of the maze2d branch ``(cond,
        verbose=True, return_diffusion=False, *, horizon=None)``: cond ``{time: [B, O]}``, normalised; a plan for each
        of the B.

        Returns what the diffusion does: a Sample, or of the maze2d branch the trajectories, with their chains if asked.
        """
        import torch

        asked = self._named(args, kwargs)
        return_chain = bool(asked.pop("return_chain", False))
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

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """A call's arguments by the main branch's names."""
        names = ("horizon",) if self._returns_values else ("verbose", "return_diffusion")
        if len(args) > len(names):
            raise TypeError(f"policy: found {1 + len(args)} positional arguments, expected cond, {', '.join(names)}")
        asked = {**dict(zip(names, args)), **kwargs}
        if not self._returns_values and "return_diffusion" in asked:
            asked["return_chain"] = asked.pop("return_diffusion")
        asked.pop("verbose", None)
        return asked

    def original(self, cond: Mapping[int, Tensor], **kwargs: Any) -> Any:
        """The diffusion's own call, with the arguments that calls have now."""
        subject = self.in_float32()
        return subject.target({t: obs.to(self.device) for t, obs in cond.items()}, verbose=False, **subject._now)

    def example(
        self, checkpoint: Checkpoint, conditions: Mapping[int, Any] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Situations of their own, with a goal, and the arguments that calls have now; conditions are normalised here,
        and the same for all."""
        import torch

        if conditions is None:
            inside = np.random.default_rng(0).uniform(-0.8, 0.8, (2, PLANS, checkpoint.observation_dim))
            conditions = dict(zip((0, checkpoint.unet.spec.horizon - 1), inside))
        arrays = {t: np.asarray(obs, np.float32) for t, obs in conditions.items()}
        return ({t: torch.as_tensor(a).expand(PLANS, a.shape[-1]) for t, a in arrays.items()},), dict(self._now)

    def compared(self, result: Any, checkpoint: Checkpoint) -> dict[str, NDArray]:
        """As it is."""
        if not self._returns_values:
            return {"trajectories": result.detach().cpu().numpy()}
        found = {"trajectories": result.trajectories, "values": result.values}
        return {name: tensor.detach().cpu().numpy().astype(np.float64) for name, tensor in found.items()}


def _takes_steps(cls: type) -> bool:
    """Whether its loop takes a step function, as the main branch's does: of the first class that says what it takes."""
    for loop in filter(None, (vars(one).get("p_sample_loop") for one in cls.__mro__)):
        parameters = inspect.signature(loop).parameters.values()
        if any(one.name == "sample_fn" for one in parameters):
            return True
        if not any(one.kind == one.VAR_POSITIONAL for one in parameters):
            return False
    return False


def _array(t: int, obs: Any) -> NDArray[np.float64]:
    array = obs.detach().cpu().double().numpy() if hasattr(obs, "detach") else np.asarray(obs, np.float64)
    if array.ndim != 2:
        raise ValueError(f"cond[{t!r}]: expected normalised observations of shape [B, O], found {list(array.shape)}")
    return array
