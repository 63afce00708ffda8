"""The original's policies: GuidedPolicy of the main branch, Policy of the maze2d branch; and namespaces like them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.checkpoint import Checkpoint
from ...core.normalizers import Normalizers
from ..subject import PLANS, Plan
from .normalizers import read_normalizers, statistics
from .parts import Parts


class Trajectories(NamedTuple):
    """What a guided policy returns beside the action: physical units, best plan first."""

    actions: NDArray  # [B, H, A]
    observations: NDArray  # [B, H, O]
    values: Any  # torch tensor [B]


class UnvaluedTrajectories(NamedTuple):
    """What the maze2d branch's policy returns beside the action."""

    actions: NDArray  # [B, H, A]
    observations: NDArray  # [B, H, O]


class PolicySubject(Parts):
    """A policy, or an object with the attributes of one that cannot be called."""

    methods = ()

    def __init__(self, policy: Any) -> None:
        self.target = policy
        self._is_guided_kind = hasattr(policy, "sample_kwargs") or hasattr(policy, "guide")

    @property
    def _wrapped_diffusion(self) -> Any:
        return self.target.diffusion_model

    @property
    def _any_guide(self) -> Any:
        return getattr(self.target, "guide", None)

    @property
    def _arguments(self) -> Mapping[str, Any]:
        return getattr(self.target, "sample_kwargs", {})

    def _normalizers(self) -> Normalizers:
        return read_normalizers(self.target.normalizer)

    def _statistics(self) -> tuple[Any, ...]:
        return statistics(self.target.normalizer)

    def call(self, plan: Plan, conditions: Mapping[int, Any], *args: Any, **kwargs: Any) -> tuple[NDArray, NamedTuple]:
        """``(conditions, batch_size=1, verbose=True)``, or of the maze2d branch ``(conditions, debug=False,
        batch_size=1)``: the first action ``[A]`` of the best plan, and the plans."""
        return (self._guided if self._is_guided_kind else self._unguided)(plan, conditions, *args, **kwargs)

    def _guided(
        self, plan: Plan, conditions: Mapping[int, Any], batch_size: int = 1, verbose: bool = True
    ) -> tuple[NDArray, Trajectories]:
        import torch

        preprocess = getattr(self.target, "preprocess_fn", None)
        if preprocess is not None:
            conditions = {t: preprocess(obs) for t, obs in conditions.items()}
        plans = plan(_of_one_situation(conditions), batch_size)
        values = torch.from_numpy(plans.values).to(self.device)
        return plans.actions[0, 0], Trajectories(plans.actions, plans.observations, values)

    def _unguided(
        self, plan: Plan, conditions: Mapping[int, Any], debug: bool = False, batch_size: int = 1
    ) -> tuple[NDArray, UnvaluedTrajectories]:
        plans = plan(_of_one_situation(conditions), batch_size)
        return plans.actions[0, 0], UnvaluedTrajectories(plans.actions, plans.observations)

    def original(self, conditions: Mapping[int, Any], **kwargs: Any) -> tuple[NDArray, NamedTuple]:
        """The policy's own call; where it has none, what a GuidedPolicy of its parts does."""
        policy = self.in_float32().target
        return policy(conditions, **kwargs) if callable(policy) else self._without_policy(policy, conditions, **kwargs)

    @property
    def _parameters(self) -> Mapping[str, Any]:
        """Of its call."""
        return inspect.signature(self.target if callable(self.target) else self._without_policy).parameters

    @property
    def _plans(self) -> int:
        """One, if its call is of a kind that takes no number of candidates."""
        return PLANS if "batch_size" in self._parameters else 1

    def example(
        self, checkpoint: Checkpoint, conditions: Mapping[int, Any] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Observations inside the data, at time 0 and at the end: what it does with a goal is compared, too."""
        if conditions is None:
            times = [0, checkpoint.unet.spec.horizon - 1]
            inside = np.random.default_rng(0).uniform(-0.8, 0.8, (2, checkpoint.observation_dim))
            physical = checkpoint.normalizers.observations.unnormalize(inside)
            conditions = dict(zip(times, physical.astype(np.float32)))
        wanted = {"batch_size": self._plans, "verbose": False}
        return (dict(conditions),), {name: value for name, value in wanted.items() if name in self._parameters}

    def compared(self, result: tuple[NDArray, NamedTuple], checkpoint: Checkpoint) -> dict[str, NDArray]:
        """Normalised."""
        action, plans = result
        normalizers, found = checkpoint.normalizers, {}
        if checkpoint.action_dim:
            found["the action"] = normalizers.actions.normalize(action)
            found["actions"] = normalizers.actions.normalize(plans.actions)
        found["observations"] = normalizers.observations.normalize(plans.observations)
        if self._is_guided_kind:
            found["values"] = plans.values.detach().cpu().numpy().astype(np.float64)
        return found

    def _without_policy(
        self, policy: Any, conditions: Mapping[int, Any], batch_size: int = 1
    ) -> tuple[NDArray, NamedTuple]:
        """What a GuidedPolicy of these parts does."""
        import torch

        preprocess = getattr(policy, "preprocess_fn", None) or (lambda obs: obs)
        cond = {
            t: torch.as_tensor(policy.normalizer.normalize(preprocess(np.asarray(obs)), "observations")).to(self.device)
            for t, obs in conditions.items()
        }
        cond = {t: obs.to(torch.float32).expand(batch_size, -1) for t, obs in cond.items()}
        guide = {"guide": policy.guide} if self.sampling()[1] is not None else {}
        options = {name: value for name, value in getattr(policy, "sample_kwargs", {}).items() if name != "verbose"}
        sample = policy.diffusion_model(cond, verbose=False, **guide, **options)
        x = getattr(sample, "trajectories", sample).detach().cpu().numpy()
        split = int(self.diffusion.action_dim)
        actions = policy.normalizer.unnormalize(x[..., :split], "actions")
        observations = policy.normalizer.unnormalize(x[..., split:], "observations")
        values = getattr(sample, "values", torch.zeros(batch_size))
        return actions[0, 0], Trajectories(actions, observations, values)


def _of_one_situation(conditions: Mapping[int, Any]) -> Mapping[int, Any]:
    """The original's policies take observations ``[O]``; batch_size is how many plans are made for them."""
    for t, obs in conditions.items():
        if np.ndim(obs) != 1:
            raise ValueError(
                f"conditions[{t!r}]: expected one observation, of shape [O], found shape {list(np.shape(obs))}; "
                "batch_size= asks for several plans"
            )
    return conditions
