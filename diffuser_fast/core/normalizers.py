"""Between physical units and the network's: plain data with a forward and an inverse map.

Only this module crosses between physical values (``obs``) and normalised ones (``obs_n``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_numbers
from .scalars import shown

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

    @property
    def straight(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """x = scale x_n + offset, each ``[dim]``."""
        return self.stds, self.means

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


class Scalar(Gaussian):
    """Fits one mean and one standard deviation to all numbers of a field."""

    @classmethod
    def fit(cls, data: ArrayLike) -> Gaussian:
        """A Gaussian of every dimension alike."""
        data = _samples(data)
        dim, std = data.shape[1], float(data.std())
        return Gaussian(np.full(dim, data.mean()), np.full(dim, std if std > 0 else 1.0))


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

    @property
    def straight(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """x = scale x_n + offset, each ``[dim]``; what is clipped left aside."""
        return (self.maxs - self.mins) / 2, (self.maxs + self.mins) / 2

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


@dataclass(frozen=True, eq=False)
class Affine:
    """x_n = scale x + offset, per dimension; nothing is clipped, unless ``limit``: what comes back is at most that far
    from 0, in physical units. All are float64 ``[dim]``."""

    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    limit: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _freeze(self, "scale", "offset", *(("limit",) if self.limit is not None else ()))
        if not (np.abs(self.scale) > 0).all():
            raise ValueError(f"scale: must not be 0, found {self.scale.tolist()}")

    @property
    def dim(self) -> int:
        """How many dimensions it maps."""
        return len(self.scale)

    @property
    def straight(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """x = scale x_n + offset, each ``[dim]``; what is clipped left aside."""
        return 1 / self.scale, -self.offset / self.scale

    @classmethod
    def identity(cls, dim: int, limit: float | None = None) -> Affine:
        """Numbers that the network takes as they are."""
        return cls(np.ones(dim), np.zeros(dim), None if limit is None else np.full(dim, limit))

    @classmethod
    def fit(cls, data: ArrayLike) -> Affine:
        """What maps the extremes of ``data [N, dim]`` to -1 and 1, and a constant dimension to 0."""
        limits = Limits.fit(data)
        scale = 2 / (limits.maxs - limits.mins)
        return cls(scale, -1 - scale * limits.mins)

    def normalize(self, x: ArrayLike) -> NDArray[np.float64]:
        """Physical ``[..., dim]`` to normalised, float64."""
        return np.asarray(x, np.float64) * self.scale + self.offset

    def outside(self, x: ArrayLike) -> NDArray[np.bool_]:
        """Which of ``[..., dim]`` do not come back as they were."""
        if self.limit is None:
            return np.zeros(np.shape(x), bool)
        return np.abs(np.asarray(x)) > self.limit * (1 + LIMITS_TOLERANCE)

    def unnormalize(self, x_n: ArrayLike, *, whole_array: bool = False) -> NDArray[np.float64]:
        """Normalised ``[..., dim]`` to physical, float64. ``whole_array`` only matters to ``Limits``."""
        x = (np.asarray(x_n, np.float64) - self.offset) / self.scale
        return x if self.limit is None else np.clip(x, -self.limit, self.limit)


@dataclass(frozen=True, eq=False)
class CDF:
    """x_n = 2 F(x) - 1: F is each dimension's empirical distribution function, linear between the data's values.

    quantiles: per dimension d its distinct values, ascending, float64 ``[K_d]``, in physical units; cumprobs: the share
    of the data up to each, float64 ``[K_d]``. What lies outside the data is clipped to it, on both ways; a dimension of
    one value passes through. (The original's CDFNormalizer; Ajay et al. 2023 plan with it.)
    """

    quantiles: tuple[NDArray[np.float64], ...]
    cumprobs: tuple[NDArray[np.float64], ...]
    straight = None  # it is no line

    def __post_init__(self) -> None:
        for name in ("quantiles", "cumprobs"):
            if not isinstance(getattr(self, name), (tuple, list)):
                raise ValueError(f"{name}: expected a list of numbers for each dimension")
            curves = tuple(_numbers(f"{name}[{d}]", curve) for d, curve in enumerate(getattr(self, name)))
            object.__setattr__(self, name, curves)
        if len(self.quantiles) != len(self.cumprobs):
            raise ValueError(f"quantiles and cumprobs: of {len(self.quantiles)} and {len(self.cumprobs)} dimensions")
        for d, (x, y) in enumerate(zip(self.quantiles, self.cumprobs)):
            if x.shape != y.shape or not len(x):
                raise ValueError(f"quantiles[{d}] and cumprobs[{d}]: lengths differ or are 0: {len(x)}, {len(y)}")
            if not ((np.diff(x) > 0).all() and (np.diff(y) > 0).all() and y[0] >= 0 and y[-1] <= 1):
                raise ValueError(f"quantiles[{d}] and cumprobs[{d}]: must ascend, the latter from 0 to 1 at most")

    @property
    def dim(self) -> int:
        """How many dimensions it maps."""
        return len(self.quantiles)

    @classmethod
    def fit(cls, data: ArrayLike) -> CDF:
        """The distribution of ``data [N, dim]``, rounded to float32 as the original does."""
        data = _samples(data)
        curves = [np.unique(column.astype(np.float32), return_counts=True) for column in data.T]
        return cls(tuple(x for x, _ in curves), tuple(np.cumsum(counts) / len(data) for _, counts in curves))

    def normalize(self, x: ArrayLike) -> NDArray[np.float64]:
        """Physical ``[..., dim]`` to normalised, float64, in [-1, 1]."""
        return self._map(x, lambda column, x, y: 2 * np.interp(column, x, y) - 1)

    def outside(self, x: ArrayLike) -> NDArray[np.bool_]:
        """Which of physical ``[..., dim]`` do not come back as they were: both ways clip to the data."""
        low, high = (np.array([curve[end] if len(curve) > 1 else sign * np.inf for curve in self.quantiles])
                     for end, sign in ((0, -1), (-1, 1)))  # fmt: skip
        return (np.asarray(x) < low) | (np.asarray(x) > high)

    def unnormalize(self, x_n: ArrayLike, *, whole_array: bool = False) -> NDArray[np.float64]:
        """Normalised ``[..., dim]`` to physical, float64. ``whole_array`` only matters to ``Limits``."""
        return self._map(x_n, lambda column, x, y: np.interp((column + 1) / 2, y, x))

    def _map(self, x: ArrayLike, curve: Callable[..., NDArray]) -> NDArray[np.float64]:
        out = np.array(x, np.float64)
        for d, (quantiles, cumprobs) in enumerate(zip(self.quantiles, self.cumprobs)):
            if len(quantiles) > 1:
                out[..., d] = curve(out[..., d], quantiles, cumprobs)
        return out


Normalizer = Gaussian | Limits | CDF | Affine
_KINDS: dict[str, type[Normalizer]] = {
    "GaussianNormalizer": Gaussian, "LimitsNormalizer": Limits, "CDFNormalizer": CDF, "AffineNormalizer": Affine,
}  # fmt: skip
# What a record looks like, for the errors that ask for one.
RECORD = (
    '{"normalizer": "GaussianNormalizer", "fields": {"observations": {"means": [...], "stds": [...]}, '
    '"actions": {"means": [...], "stds": [...]}}} (LimitsNormalizer: "mins" and "maxs"; '
    'AffineNormalizer: "scale" and "offset"; a field may have a "normalizer" of its own)'
)


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

    @property
    def kind(self) -> str | None:
        """The original's name for both fields' class; None if they differ."""
        same = type(self.actions) is type(self.observations)
        return kind_of(self.observations) if same else None

    def to_json(self) -> dict[str, Any]:
        """The sidecar's record: per field its statistics, and the kind once where both have one."""
        fields = {}
        for field in ("observations", "actions"):
            one = getattr(self, field)
            own = {} if self.kind else {"normalizer": kind_of(one)}
            statistics = {name: getattr(one, name) for name in one.__dataclass_fields__}
            fields[field] = own | {name: _lists(value) for name, value in statistics.items() if value is not None}
        return ({"normalizer": self.kind} if self.kind else {}) | {"fields": fields}

    @classmethod
    def from_json(cls, record: Any) -> Normalizers:
        """Read a sidecar's record; ValueError names what is missing. Statistics of other kinds are ignored."""
        if not isinstance(record, dict) or not isinstance(record.get("fields"), dict):
            raise ValueError(f"normalizer: expected a JSON object with 'normalizer' and 'fields', such as {RECORD}")
        parts = {}
        for field in ("observations", "actions"):
            stats = record["fields"].get(field)
            own = stats.get("normalizer") if isinstance(stats, dict) else None
            name = record.get("normalizer") if own is None else own
            kind = _KINDS.get(name) if isinstance(name, str) else None
            if kind is None:
                raise ValueError(f"normalizer: found {shown(name)}, expected one of {sorted(_KINDS)}")
            needed = [n for n, f in kind.__dataclass_fields__.items() if f.default is not None]
            missing = [n for n in needed if not isinstance(stats, dict) or n not in stats]
            if missing:
                raise ValueError(f"normalizer: fields.{field} lacks {missing}")
            parts[field] = kind(**{n: stats[n] for n in kind.__dataclass_fields__ if stats.get(n) is not None})
        return cls(**parts)


def kind_of(normalizer: Normalizer) -> str:
    """The name of its class in a sidecar."""
    return next(name for name, cls in _KINDS.items() if type(normalizer) is cls)


def normalizer_kind(name: str) -> type[Normalizer]:
    """The class for "gaussian", "limits", "cdf", "scalar" (or the original's class name); ValueError on another one."""
    found = {"gaussian": Gaussian, "limits": Limits, "cdf": CDF, "scalar": Scalar, **_KINDS}.get(name)
    if found is None:
        raise ValueError(f"normalizer: found {name!r}, expected 'gaussian', 'limits', 'cdf' or 'scalar'")
    return found


def _freeze(record: Any, *names: str) -> None:
    for name in names:
        object.__setattr__(record, name, _numbers(name, getattr(record, name)))
    lengths = {len(getattr(record, name)) for name in names}
    if len(lengths) != 1:
        raise ValueError(f"{' and '.join(names)}: lengths differ: {sorted(lengths)}")


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """A read-only copy, float64 ``[n]``."""
    array = np.array(as_numbers(name, values, finite=False))
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers of shape [dim], found shape {array.shape}")
    array.setflags(write=False)
    return array


def _lists(statistic: NDArray | tuple[NDArray, ...]) -> list:
    return [one.tolist() for one in statistic] if isinstance(statistic, tuple) else statistic.tolist()


def _samples(data: ArrayLike) -> NDArray[np.float64]:
    data = as_numbers("data", data, finite=False)
    if data.ndim != 2 or not len(data):
        raise ValueError(f"data: expected [N, dim] with N > 0, found shape {data.shape}")
    return data
