"""A normaliser's statistics in a native file: a few numbers stand in its header, a CDFNormalizer's are tensors.

The latter are as long as the data they were fitted to: ``<field>.<quantiles or cumprobs>.<dimension>``, float64.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.normalizers import Normalizers

LONG = "CDFNormalizer"
_NAME = re.compile(r"(observations|actions)\.(quantiles|cumprobs)\.(\d{1,4})")


def pack(normalizers: Normalizers | None) -> tuple[dict[str, Any] | None, dict[str, NDArray]]:
    """Statistics -> their record in the header, and their tensors."""
    if normalizers is None:
        return None, {}
    if normalizers.kind != LONG:
        return normalizers.to_json(), {}
    tensors = {
        f"{field}.{name}.{d}": np.array(curve)
        for field in ("observations", "actions")
        for name in ("quantiles", "cumprobs")
        for d, curve in enumerate(getattr(getattr(normalizers, field), name))
    }
    return {"normalizer": LONG}, tensors


def unpack(record: Any, tensors: Mapping[str, NDArray]) -> Normalizers | None:
    """The inverse of ``pack``; ValueError on what ``pack`` does not write."""
    long = isinstance(record, dict) and record.get("normalizer") == LONG
    strangers = [name for name in tensors if not (long and _NAME.fullmatch(name))]
    if strangers:
        raise ValueError(f"tensor normalizers.{strangers[0]} is none that the header speaks of")
    if not long:
        return None if record is None else Normalizers.from_json(record)
    fields: dict[str, dict[str, list[NDArray]]] = {"observations": {}, "actions": {}}
    for name in sorted(tensors, key=lambda name: int(name.rpartition(".")[2])):  # by dimension
        field, statistic, _ = name.split(".")
        fields[field].setdefault(statistic, []).append(tensors[name])
    return Normalizers.from_json({"normalizer": LONG, "fields": fields})
