"""Another library's tensors under our names: rules rename, shapes are checked, every tensor is used or refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Weights
from ..core.lower import lower
from ..core.spec import Spec

Rules = Iterable[tuple[str, str]]


def weights(spec: Spec, tensors: Mapping[str, NDArray], rules: Rules, *, unused: Collection[str] = ()) -> Weights:
    """``spec``'s weights out of ``tensors``. rules: applied in turn to our names, they give the library's keys.

    A dense layer over [embedding, condition], or over [trajectory, embedding] in the head of a value network, is one
    tensor there and several here: they take their columns of it. unused: keys that the library writes and never reads.
    Raises ValueError on keys that are missing or left over, and on shapes that do not fit.
    """
    wanted, rules = lower(spec).weights, tuple(rules)
    sources = {name: _renamed(name, rules) for name in wanted}
    missing, extra = set(sources.values()) - tensors.keys(), tensors.keys() - set(sources.values()) - set(unused)
    if missing or extra:
        raise ValueError(f"of its keys {some(missing)} are missing, {some(extra)} not expected")
    arrays = {name: _fitted(spec, name, key, tensors[key], wanted) for name, key in sources.items()}
    return Weights(spec, arrays)


def predicting_zeros(tensors: Mapping[str, NDArray], key: str, numbers: int) -> dict[str, NDArray]:
    """``tensors``, where the last convolution, ``key``, predicts so many numbers more: zeros, of what is given."""
    rows = {f"{key}.{part}": tensors.get(f"{key}.{part}") for part in ("weight", "bias")} if numbers else {}
    padded = {name: np.pad(a, [(0, numbers)] + [(0, 0)] * (a.ndim - 1)) for name, a in rows.items() if np.ndim(a)}
    return {**tensors, **padded}


def shape_of(tensors: Mapping[str, NDArray], key: str, axes: int) -> tuple[int, ...]:
    """A tensor's shape; ValueError if there is none, or it has another number of axes."""
    if key not in tensors:
        raise ValueError(f"it lacks {key}")
    if np.ndim(tensors[key]) != axes or 0 in np.shape(tensors[key]):
        raise ValueError(f"{key} has shape {list(np.shape(tensors[key]))}, expected {axes} axes")
    return np.shape(tensors[key])


def counted(tensors: Mapping[str, NDArray], key: str, most: int = 13) -> int:
    """How many of ``key.format(0)``, ``key.format(1)``, ... there are, up to ``most``."""
    n = 0
    while n < most and key.format(n) in tensors:
        n += 1
    return n


def some(names: Iterable[str]) -> str:
    """A few of the names, for an error."""
    names = sorted(names)
    if not names:
        return "none"
    return ", ".join(map(readable, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def readable(name: str) -> str:
    """A name out of a file for an error: on one line, and not longer than a name is."""
    return name[:100] if name.isprintable() else ascii(name[:100])


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _fitted(
    spec: Spec, name: str, key: str, array: NDArray, wanted: Mapping[str, tuple[int, ...]]
) -> NDArray[np.float32]:
    shape, array = wanted[name], np.asarray(array)
    of_time = name.endswith(".time.weight")
    if name.endswith(".condition.weight") or (of_time and name.replace(".time.", ".condition.") in wanted):
        if array.ndim == 2:
            array = array[:, : spec.time.out] if of_time else array[:, spec.time.out :]
    elif name in ("head.linear1.weight", "head.time.weight") and array.ndim == 2:
        # Dense over [channels x time, flattened in that order, then the embedding].
        columns, embedding = array.shape[1] - spec.time.out, spec.time.out
        length = spec.last_length(spec.horizon)
        if columns % length or columns // length != wanted["head.linear1.weight"][1]:
            raise ValueError(
                f"{key} takes {array.shape[1]} numbers, expected {embedding} and those of {length} times, which "
                f"horizon {spec.horizon} leaves"
            )
        array = array[:, :columns].reshape(-1, columns // length, length) if "linear1" in name else array[:, columns:]
    if [n for n in array.shape if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(f"{key} has shape {list(array.shape)}, which does not fit {name} {list(shape)}")
    return np.array(array.reshape(shape), np.float32)
