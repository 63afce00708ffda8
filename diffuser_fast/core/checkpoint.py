"""A trained planner, as data: what every format is read into, and all that planning needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_numbers
from .guidance import Guide
from .lower import lower
from .normalizers import Normalizers
from .samplers import Sampling
from .scalars import flag, real, shown, whole
from .schedule import Schedule
from .spec import InverseSpec, Spec, UNetSpec, ValueSpec


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's spec and its weights: name (as in lower.py) -> float32 array. Checked against each other."""

    spec: Spec
    arrays: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        expected = lower(self.spec).weights
        missing, extra = (
            sorted(expected.keys() - self.arrays.keys()),
            sorted(self.arrays.keys() - expected.keys()),
        )
        if missing or extra:
            raise ValueError(f"weights: missing {_some(missing)}, not expected {_some(extra)}")
        checked = {}
        for name, shape in expected.items():
            given = self.arrays[name]
            array = as_numbers(f"weights: {name}", given, np.float32, finite=False)
            # A tensor's memory is its network's, which may go on learning.
            array = np.ascontiguousarray(array) if isinstance(given, np.ndarray) else np.array(array, order="C")
            if array.shape != shape:
                raise ValueError(f"weights: {name} has shape {list(array.shape)}, the spec needs {list(shape)}")
            if not np.isfinite(array).all():
                raise ValueError(f"weights: {name} holds numbers that are not finite")
            array.setflags(write=False)
            checked[name] = array
        object.__setattr__(self, "arrays", MappingProxyType(checked))

    def __reduce__(self) -> tuple[Any, ...]:
        return Weights, (self.spec, dict(self.arrays))  # a view of a dictionary cannot be copied or sent


@dataclass(frozen=True)
class Acting:
    """How a planner meets its environment.

    observed: where the observation stands: "after" the actions of a transition (the original's), "before" them, or it
    is the network's "condition", or its "local" one (at the times that it was made, zeros at others): then plans hold
    actions alone. history: observations that are looked at, the newest last. first, steps: which actions of a plan are
    executed before the next one is made. masked: the network is told which times of a plan are given, by the last
    number of a transition and by its condition.
    """

    observed: str = "after"
    history: int = 1
    first: int = 0
    steps: int = 1
    masked: bool = False

    def __post_init__(self) -> None:
        places = ("after", "before", "condition", "local")
        if self.observed not in places:
            raise ValueError(f"observed: found {shown(self.observed)}, expected one of {', '.join(places)}")
        object.__setattr__(self, "masked", flag("masked", self.masked))
        for name, least in (("history", 1), ("first", 0), ("steps", 1)):
            object.__setattr__(self, name, whole(name, getattr(self, name), least, 1 << 16))


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """unet: the denoiser. value: the guide, if any. schedule: T training steps. action_dim: A (D = A + O).

    prediction: what the network predicts, "x0" or "epsilon". clip_denoised: x0 is clipped to plus and minus clip_range.
    guide, sampling: the conventions this checkpoint was evaluated with. normalizers: None if the file has no
    statistics. acting: how its plans become actions. condition_weight: w, so that the prediction is u + w (c - u) of
    the unconditional one u and the conditional one c (Ho and Salimans 2022). inverse: inverse dynamics, for
    trajectories that hold observations alone (A = 0). metadata: provenance, plain JSON values (source, environment,
    steps trained, ...).
    """

    unet: Weights
    schedule: Schedule
    action_dim: int
    prediction: str = "x0"
    clip_denoised: bool = False
    value: Weights | None = None
    guide: Guide = field(default_factory=Guide)
    normalizers: Normalizers | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    clip_range: float = 1.0
    sampling: Sampling = field(default_factory=Sampling)
    acting: Acting = field(default_factory=Acting)
    condition_weight: float = 1.0
    inverse: Weights | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.unet.spec, UNetSpec):
            raise ValueError("unet: its spec must be a UNetSpec")
        depth = self.unet.spec.transition_dim
        object.__setattr__(self, "action_dim", whole("action_dim", self.action_dim))
        object.__setattr__(self, "clip_denoised", flag("clip_denoised", self.clip_denoised))
        object.__setattr__(self, "clip_range", real("clip_range", self.clip_range))
        if self.clip_range <= 0:
            raise ValueError(f"clip_range: found {self.clip_range}, expected a positive number")
        self._check_acting()
        if not self.observes_condition and not 0 <= self.action_dim < depth:
            raise ValueError(f"action_dim: found {self.action_dim}, expected 0 to {depth - 1} (transition_dim {depth})")
        object.__setattr__(self, "condition_weight", real("condition_weight", self.condition_weight))
        if self.condition_weight != 1 and not self.unet.spec.condition:
            raise ValueError("condition_weight: the network takes no condition")
        if self.inverse is not None:
            spec = self.inverse.spec
            if not isinstance(spec, InverseSpec) or spec.observation_dim != depth or self.action_dim:
                raise ValueError(
                    f"inverse: expected inverse dynamics of {depth} observations, and no actions beside them"
                )
        if self.acting.first + self.acting.steps > self.unet.spec.horizon:
            raise ValueError(f"acting: its actions end beyond the horizon, {self.unet.spec.horizon}")
        # Its sampler is tried, so that what cannot be sampled is said when it is read.
        self.sampling.table(self.schedule, self.prediction if self.prediction in ("x0", "epsilon") else "x0")
        if self.prediction not in ("x0", "epsilon"):
            raise ValueError(f"prediction: found {self.prediction!r}, expected 'x0' or 'epsilon'")
        if self.value is not None:
            if not isinstance(self.value.spec, ValueSpec):
                raise ValueError("value: its spec must be a ValueSpec")
            if self.value.spec.transition_dim != depth:
                raise ValueError(
                    f"value: its transition_dim is {self.value.spec.transition_dim}, the U-Net's is {depth}"
                )
        if self.normalizers is not None:
            found = (self.normalizers.actions.dim, self.normalizers.observations.dim)
            if found != (self.executed_dim, self.observation_dim):
                raise ValueError(
                    f"normalizer: statistics are for {found[0]} actions and {found[1]} observations, "
                    f"the network has {self.executed_dim} and {self.observation_dim}"
                )

    def _check_acting(self) -> None:
        """ValueError unless what the network is told is what plans tell it."""
        spec, acting, depth = self.unet.spec, self.acting, self.unet.spec.transition_dim
        if acting.observed == "condition" and (
            self.action_dim != depth or spec.condition % acting.history or not spec.condition
        ):
            raise ValueError(
                f"acting: {acting.history} observations are to be the network's condition, which is "
                f"{spec.condition} numbers, and all {depth} of a transition actions ({self.action_dim})"
            )
        if acting.observed == "local" and (not spec.local or self.action_dim != spec.predicted_dim):
            raise ValueError(
                f"acting: observations are to be the network's local condition, which is {spec.given * spec.local} "
                f"numbers, and the other {spec.predicted_dim} of a transition actions ({self.action_dim})"
            )
        told = spec.condition in (0, spec.horizon) and acting.observed != "condition"
        if acting.masked and (spec.given != 1 or spec.local or not told):
            raise ValueError(
                f"acting: the network is to be told which of {spec.horizon} times are given, and has {spec.given} "
                f"numbers of a transition and {spec.condition} of a condition for it"
            )
        if spec.given and not acting.masked and acting.observed != "local":
            raise ValueError(f"acting: nothing says what the {spec.given} given numbers of a transition are")

    @property
    def observation_dim(self) -> int:
        """O."""
        spec = self.unet.spec
        if self.acting.observed == "condition":
            return spec.condition // self.acting.history
        return spec.given if self.acting.observed == "local" else spec.predicted_dim - self.action_dim

    @property
    def executed_dim(self) -> int:
        """Numbers of an action, whether the trajectory holds it or inverse dynamics find it."""
        return self.action_dim if self.inverse is None else self.inverse.spec.action_dim

    @property
    def gains(self) -> tuple[float, ...]:
        """Of the denoiser's branches: without the condition, and with it."""
        return (1.0,) if self.condition_weight == 1 else (1 - self.condition_weight, self.condition_weight)

    @property
    def observes_condition(self) -> bool:
        """Whether observations are the network's condition, along time or not, and plans hold actions alone."""
        return self.acting.observed in ("condition", "local")

    @property
    def columns(self) -> tuple[slice, slice]:
        """Which columns of a transition ``[D]`` are actions, and which observations."""
        depth = self.action_dim + self.observation_dim * (self.acting.observed != "condition")
        if self.acting.observed == "before":
            return slice(depth - self.action_dim, depth), slice(0, depth - self.action_dim)
        return slice(0, self.action_dim), slice(self.action_dim, depth)


def _some(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
