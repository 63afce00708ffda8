"""Conditions -> inpainting: what is given of a trajectory stays what it is (Janner et al. 2022, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_numbers
from .normalizers import Normalizers
from .scalars import plain


@dataclass(frozen=True, eq=False)
class Inpainting:
    """The conditions of a plan, normalised. mask: bool ``[H, D]``, true where the trajectory is given; values: float32
    ``[B or 1, H, D]``, what it is there.

    Values outside the mask are zeros and mean nothing. clipped: a sentence for
    each condition beyond the limits of the data, which plans will not hold as it was given.
    """

    mask: NDArray[np.bool_]
    values: NDArray[np.float32]
    clipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        mask = np.ascontiguousarray(self.mask, np.bool_)
        values = np.ascontiguousarray(self.values, np.float32)
        if mask.ndim != 2 or values.ndim != 3 or values.shape[1:] != mask.shape:
            raise ValueError(
                f"inpainting: mask {mask.shape} and values {values.shape} must be [H, D] and [B or 1, H, D]"
            )
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "values", values)

    def apply(self, x: NDArray) -> NDArray:
        """``x [B, H, D]`` with the given values where the mask is true."""
        return np.where(self.mask, self.values.astype(x.dtype), x)


def no_inpainting(horizon: int, transition_dim: int) -> Inpainting:
    """No conditions: a mask that is false everywhere."""
    return Inpainting(np.zeros((horizon, transition_dim), bool), np.zeros((1, horizon, transition_dim), np.float32))


def parse_conditions(
    conditions: Mapping[int, Any],
    horizon: int,
    normalizers: Normalizers,
    *,
    at: int | None = None,
    depth: int | None = None,
) -> tuple[Inpainting, int | None]:
    """Conditions in physical units -> Inpainting, and E if any of them was given for E situations (else None).

    conditions: ``{t: observation [O] or [E, O]}``, or ``{t: {dim: value or [E] values}}`` for some dimensions of the
    observation. t may be negative. at: the first column of the observation in a transition of depth D; None: behind the
    actions, and A + O. Inpainting.values is ``[E or 1, H, D]``. Raises ValueError or TypeError, naming the
    condition, on a wrong shape, a number that is not finite, t outside the horizon, or the same t twice.
    """
    if not isinstance(conditions, Mapping):
        raise TypeError(f"conditions: expected a mapping {{t: observation}}, found {type(conditions).__name__}")
    obs_dim, act_dim = normalizers.observations.dim, normalizers.actions.dim
    at = act_dim if at is None else at
    depth = act_dim + obs_dim if depth is None else depth
    given = {_time(key, horizon): key for key in conditions}
    if len(given) != len(conditions):
        raise ValueError(f"conditions: keys {sorted(conditions)} name the same time twice at horizon {horizon}")
    parsed = {t: _observation(key, conditions[key], obs_dim) for t, key in given.items()}
    counts = {len(obs) for obs, _ in parsed.values() if obs.ndim == 2}
    if len(counts) > 1:
        raise ValueError(f"conditions: given for different numbers of situations: {sorted(counts)}")
    situations = counts.pop() if counts else None
    mask = np.zeros((horizon, depth), bool)
    values = np.zeros((situations or 1, *mask.shape), np.float32)
    clipped = []
    for t, (obs, dims) in parsed.items():
        columns = np.flatnonzero(dims)
        outside = normalizers.observations.outside(obs) & dims
        if outside.any():
            clipped.append(_outside(f"conditions[{given[t]!r}]", obs, outside, normalizers))
        given_n = normalizers.observations.normalize(obs)[..., columns]
        if np.abs(given_n).max(initial=0.0) > np.finfo(np.float32).max:
            largest = np.abs(obs).max()
            raise ValueError(f"conditions[{given[t]!r}]: {largest:.3g} is too large for float32 once normalised")
        mask[t, at + columns] = True
        values[:, t, at + columns] = given_n
    return Inpainting(mask, values, tuple(clipped)), situations


def _outside(name: str, obs: NDArray, outside: NDArray[np.bool_], normalizers: Normalizers) -> str:
    *situation, dim = (int(i) for i in np.argwhere(outside)[0])
    field = normalizers.observations
    low, high = (float(field.unnormalize(np.full(field.dim, end))[dim]) for end in (-1.0, 1.0))
    where = f"dimension {dim}" + (f" of situation {situation[0]}" if situation else "")
    return f"{name}: {where} is {obs[(*situation, dim)]:.4g}, beyond the data's limits, {low:.4g} to {high:.4g}"


def _time(key: Any, horizon: int) -> int:
    # Keys read from JSON may be floats or strings; only whole numbers name a time.
    time = plain(key)
    if type(time) is not int and not (type(time) is float and time.is_integer()):
        raise ValueError(f"conditions: key {key!r} is not a whole number; keys are times in 0 .. {horizon - 1}")
    if not -horizon <= time < horizon:
        raise ValueError(
            f"conditions: time {int(time)} is outside the horizon {horizon} (0 .. {horizon - 1}, or negative)"
        )
    return int(time) % horizon


def _observation(key: Any, value: Any, obs_dim: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """An observation ``[O]`` or ``[E, O]`` in physical units and the dimensions given, bool ``[O]``."""
    name = f"conditions[{key!r}]"
    if not isinstance(value, Mapping):
        obs = as_numbers(name, value)
        if obs.ndim not in (1, 2) or obs.shape[-1] != obs_dim or not obs.size:
            raise ValueError(
                f"{name}: expected an observation of shape [{obs_dim}] or [E, {obs_dim}], found {list(obs.shape)}"
            )
        return obs, np.ones(obs_dim, bool)
    dims = np.zeros(obs_dim, bool)
    columns = {}
    for key, number in value.items():
        dim = plain(key)
        if type(dim) is not int or not 0 <= dim < obs_dim:
            raise ValueError(f"{name}: dimension {key!r} is not one of 0 .. {obs_dim - 1} of the observation")
        columns[dim] = as_numbers(f"{name}[{dim}]", number)
        if columns[dim].ndim > 1 or not columns[dim].size:
            raise ValueError(f"{name}[{dim}]: expected a number or [E] numbers, found shape {list(columns[dim].shape)}")
    lengths = {c.shape for c in columns.values() if c.ndim}
    if len(lengths) > 1:
        raise ValueError(f"{name}: given for different numbers of situations: {sorted(n for (n,) in lengths)}")
    obs = np.zeros((*(lengths.pop() if lengths else ()), obs_dim))
    for dim, column in columns.items():
        obs[..., dim] = column
        dims[dim] = True
    return obs, dims
