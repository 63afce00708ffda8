"""The original's normaliser objects -> ours: their statistics, whatever they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.normalizers import CDF, Gaussian, Limits, Normalizer, Normalizers
from ..ways import ways

FIELDS = ("observations", "actions")
_ATTRIBUTES = {
    "GaussianNormalizer": ("means", "stds"),
    "LimitsNormalizer": ("mins", "maxs"),
    "DebugNormalizer": ("mins",),
}


def read_normalizers(normalizer: Any) -> Normalizers:
    """A DatasetNormalizer, or what has its ``normalizers``; ValueError for one of another kind."""
    return Normalizers(*(_read(one) for one in _fields(normalizer)))


def statistics(normalizer: Any) -> tuple[Any, ...]:
    """What tells whether it has changed, compared with ``==``: its ways, and of each field its ways and its statistics;
    of long ones a sample."""
    return (ways(normalizer),), *((ways(one), *_sample(one)) for one in _fields(normalizer))


def _fields(normalizer: Any) -> list[Any]:
    fields = getattr(normalizer, "normalizers", None)
    if not isinstance(fields, Mapping) or not set(FIELDS) <= set(fields):
        raise ValueError(
            "policy: its normalizer must hold .normalizers for 'observations' and 'actions', as DatasetNormalizer does"
        )
    return [fields[name] for name in FIELDS]


def _kind(one: Any) -> str:
    """The original's class that it is, or is derived from."""
    names = [cls.__name__ for cls in type(one).__mro__]
    # SafeLimitsNormalizer is a LimitsNormalizer: its limits are moved when it is made.
    kind = next((name for name in names if name in _ATTRIBUTES or name == "CDFNormalizer"), None)
    if kind is None:
        raise ValueError(
            f"policy: its normaliser is a {names[0]}; {', '.join(_ATTRIBUTES)} and CDFNormalizer are understood"
        )
    return kind


def _read(one: Any) -> Normalizer:
    kind = _kind(one)
    if kind == "GaussianNormalizer":
        return Gaussian(one.means, one.stds)
    if kind == "LimitsNormalizer":
        return Limits(one.mins, one.maxs)
    if kind == "DebugNormalizer":
        return Gaussian(np.zeros(len(one.mins)), np.ones(len(one.mins)))
    curves = [_curve(cdf) for cdf in one.cdfs]
    return CDF(tuple(x for x, _ in curves), tuple(y for _, y in curves))


def _curve(cdf: Any) -> tuple[Any, Any]:
    """Values and the share of the data up to each, of one dimension: an interpolation's points, or a constant."""
    if hasattr(cdf, "fn"):
        return cdf.fn.x, cdf.fn.y
    return np.reshape(cdf.X, -1)[:1], np.ones(1)


def _sample(one: Any) -> tuple[Any, ...]:
    kind = _kind(one)
    if kind == "CDFNormalizer":
        points = (array for cdf in one.cdfs for array in _curve(cdf))
        return kind, *((len(array), *array[:: max(1, len(array) // 8)].tolist()) for array in points)
    return kind, *(np.asarray(getattr(one, name)).tobytes() for name in _ATTRIBUTES[kind])
