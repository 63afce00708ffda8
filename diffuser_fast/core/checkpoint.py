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
from .scalars import flag, whole
from .schedule import Schedule
from .spec import Spec, UNetSpec, ValueSpec


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


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """unet: the denoiser. value: the guide, if any. schedule: T training steps. action_dim: A (D = A + O).

    prediction: what the network predicts, "x0" or "epsilon". clip_denoised: x0 is clipped to [-1, 1].
    guide: the convention this checkpoint was evaluated with. normalizers: None if the file has no statistics.
    metadata: provenance, plain JSON values (source, environment, steps trained, ...).
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

    def __post_init__(self) -> None:
        if not isinstance(self.unet.spec, UNetSpec):
            raise ValueError("unet: its spec must be a UNetSpec")
        depth = self.unet.spec.transition_dim
        object.__setattr__(self, "action_dim", whole("action_dim", self.action_dim))
        object.__setattr__(self, "clip_denoised", flag("clip_denoised", self.clip_denoised))
        if not 0 <= self.action_dim < depth:
            raise ValueError(f"action_dim: found {self.action_dim}, expected 0 to {depth - 1} (transition_dim {depth})")
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
            if found != (self.action_dim, self.observation_dim):
                raise ValueError(
                    f"normalizer: statistics are for {found[0]} actions and {found[1]} observations, "
                    f"the network has {self.action_dim} and {self.observation_dim}"
                )

    @property
    def observation_dim(self) -> int:
        """O."""
        return self.unet.spec.transition_dim - self.action_dim


def _some(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
