"""Between physical units and the network's: plain data with a forward and an inverse map.

Only this module crosses between physical values (``obs``) and normalised ones (``obs_n``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_numbers

# The original clips a whole array to [-1, 1] when any element is outside by more than this.
LIMITS_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Gaussian:
    """x_n = (x - mean) / std, per dimension. ``means`` and ``stds`` are float64 ``[dim]``, in physical units."""

    means: NDArray[np.float64]
    stds: NDArray[np.float64]

    def __post_init__(self) -> None:
        _freeze(self, "means", "stds")
        if not (self.stds > 0).all():
            raise ValueError(f"stds: must be positive, found {self.stds.tolist()}")

    @property
    def dim(self) -> int:
        """How many dimensions it maps."""
        return len(self.means)

    @classmethod
    def fit(cls, data: ArrayLike) -> Gaussian:
        """Means and standard deviations over ``data [N, dim]``; a constant dimension gets std 1."""
        data = _samples(data)
        stds = data.std(axis=0)
        return cls(data.mean(axis=0), np.where(stds > 0, stds, 1.0))

    def normalize(self, x: ArrayLike) -> NDArray[np.float64]:
        """Physical ``[..., dim]`` to normalised, float64."""
        return (np.asarray(x, np.float64) - self.means) / self.stds

    def outside(self, x: ArrayLike) -> NDArray[np.bool_]:
        """Which of ``[..., dim]`` do not come back as they were: none, it has no limits."""
        return np.zeros(np.shape(x), bool)

    def unnormalize(self, x_n: ArrayLike, *, whole_array: bool = False) -> NDArray[np.float64]:
        """Normalised ``[..., dim]`` to physical, float64. ``whole_array`` only matters to ``Limits``."""
        return np.asarray(x_n, np.float64) * self.stds + self.means


@dataclass(frozen=True, eq=False)
class Limits:
    """Maps ``[mins, maxs]`` to [-1, 1], per dimension. Both are float64 ``[dim]``, in physical units."""

    mins: NDArray[np.float64]
    maxs: NDArray[np.float64]

    def __post_init__(self) -> None:
        _freeze(self, "mins", "maxs")
        if not (self.maxs > self.mins).all():
            wrong = np.flatnonzero(~(self.maxs > self.mins)).tolist()
            raise ValueError(f"maxs: must exceed mins in every dimension, they do not in {wrong}")

    @property
    def dim(self) -> int:
        """How many dimensions it maps."""
        return len(self.mins)

    @classmethod
    def fit(cls, data: ArrayLike) -> Limits:
        """Extremes over ``data [N, dim]``; a constant dimension c gets [c - 1, c + 1], so that it maps to 0."""
        data = _samples(data)
        low, high = data.min(axis=0), data.max(axis=0)
        pad = np.where(high > low, 0.0, 1.0)
        return cls(low - pad, high + pad)

    def normalize(self, x: ArrayLike) -> NDArray[np.float64]:
        """Physical ``[..., dim]`` to normalised, float64; values outside the limits map outside [-1, 1]."""
        return 2 * (np.asarray(x, np.float64) - self.mins) / (self.maxs - self.mins) - 1

    def outside(self, x: ArrayLike) -> NDArray[np.bool_]:
        """Which of physical ``[..., dim]`` do not come back as they were: ``unnormalize`` clips them to the limits."""
        return np.abs(self.normalize(x)) > 1 + LIMITS_TOLERANCE

    def unnormalize(self, x_n: ArrayLike, *, whole_array: bool = False) -> NDArray[np.float64]:
        """Normalised ``[..., H, dim]`` to physical, float64.

        A plan ``[H, dim]`` with any element beyond 1 + 1e-4 is clipped to [-1, 1] as a whole; others pass as
        they are. The original decides once for the whole array, which couples the plans of a batch:
        ``whole_array=True`` reproduces that.
        """
        x_n = np.asarray(x_n, np.float64)
        axes = None if whole_array or x_n.ndim < 2 else (-2, -1)
        outside = np.abs(x_n).max(axis=axes, keepdims=True, initial=0.0) > 1 + LIMITS_TOLERANCE
        x_n = np.where(outside, np.clip(x_n, -1, 1), x_n)
        return (x_n + 1) / 2 * (self.maxs - self.mins) + self.mins


Normalizer = Gaussian | Limits
_KINDS = {"GaussianNormalizer": Gaussian, "LimitsNormalizer": Limits}


@dataclass(frozen=True, eq=False)
class Normalizers:
    """One normaliser for observations (O) and one for actions (A); a transition is ``[A + O]``, actions first."""

    observations: Normalizer
    actions: Normalizer

    def normalize(self, transitions: ArrayLike) -> NDArray[np.float64]:
        """Physical transitions ``[..., A + O]`` to normalised, float64."""
        actions, observations = self._split(transitions)
        return np.concatenate((self.actions.normalize(actions), self.observations.normalize(observations)), axis=-1)

    def unnormalize(self, transitions_n: ArrayLike, *, whole_array: bool = False) -> NDArray[np.float64]:
        """Normalised trajectories ``[..., H, A + O]`` to physical, float64."""
        actions, observations = self._split(transitions_n)
        return np.concatenate(
            (
                self.actions.unnormalize(actions, whole_array=whole_array),
                self.observations.unnormalize(observations, whole_array=whole_array),
            ),
            axis=-1,
        )

    def _split(self, transitions: ArrayLike) -> tuple[NDArray, NDArray]:
        transitions = np.asarray(transitions)
        expected = self.actions.dim + self.observations.dim
        if transitions.shape[-1] != expected:
            raise ValueError(f"transitions: last axis is {transitions.shape[-1]}, expected {expected}")
        return transitions[..., : self.actions.dim], transitions[..., self.actions.dim :]

    def to_json(self) -> dict[str, Any]:
        """The sidecar's record: one kind, and per field the statistics of that kind."""
        kind = next(name for name, cls in _KINDS.items() if type(self.observations) is cls)
        if type(self.actions) is not type(self.observations):
            raise ValueError("normalizers: observations and actions must be of one kind to be written")
        fields = {}
        for field in ("observations", "actions"):
            one = getattr(self, field)
            fields[field] = {name: getattr(one, name).tolist() for name in one.__dataclass_fields__}
        return {"normalizer": kind, "fields": fields}

    @classmethod
    def from_json(cls, record: Any) -> Normalizers:
        """Read a sidecar's record; ValueError names what is missing. Statistics of other kinds are ignored."""
        if not isinstance(record, dict) or not isinstance(record.get("fields"), dict):
            raise ValueError("normalizer: expected a JSON object with 'normalizer' and 'fields'")
        kind = _KINDS.get(record.get("normalizer"))
        if kind is None:
            raise ValueError(f"normalizer: found {record.get('normalizer')!r}, expected one of {sorted(_KINDS)}")
        parts = {}
        for field in ("observations", "actions"):
            stats = record["fields"].get(field)
            missing = [n for n in kind.__dataclass_fields__ if not isinstance(stats, dict) or n not in stats]
            if missing:
                raise ValueError(f"normalizer: fields.{field} lacks {missing}")
            parts[field] = kind(*(stats[name] for name in kind.__dataclass_fields__))
        return cls(**parts)


def normalizer_kind(name: str) -> type[Gaussian] | type[Limits]:
    """The class for "gaussian" / "limits" (or the original's class names); ValueError on another name."""
    found = {"gaussian": Gaussian, "limits": Limits, **_KINDS}.get(name)
    if found is None:
        raise ValueError(f"normalizer: found {name!r}, expected 'gaussian' or 'limits'")
    return found


def _freeze(record: Any, *names: str) -> None:
    shapes = set()
    for name in names:
        array = np.array(as_numbers(name, getattr(record, name), finite=False))
        if array.ndim != 1 or not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers of shape [dim], found shape {array.shape}")
        array.setflags(write=False)
        object.__setattr__(record, name, array)
        shapes.add(array.shape)
    if len(shapes) != 1:
        raise ValueError(f"{' and '.join(names)}: lengths differ: {sorted(s[0] for s in shapes)}")


def _samples(data: ArrayLike) -> NDArray[np.float64]:
    data = as_numbers("data", data, finite=False)
    if data.ndim != 2 or not len(data):
        raise ValueError(f"data: expected [N, dim] with N > 0, found shape {data.shape}")
    return data
