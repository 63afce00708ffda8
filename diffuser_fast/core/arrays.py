"""The one check of arrays: whatever a caller calls numbers, as a numpy array on the host.

Tensors are looked at, never imported: they may be on a device, need gradients, or be in bfloat16, which numpy has not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .scalars import shown


def as_numbers(name: str, value: Any, dtype: DTypeLike = np.float64, *, finite: bool = True) -> NDArray:
    """``value`` (an array, a tensor of any library, or nested lists of either) as an array of ``dtype``.

    Not copied where it is one already. Raises TypeError, naming the argument, for anything but real numbers (text,
    complex numbers, hidden ones of a masked array, lists of different lengths), and ValueError for numbers that are
    not finite, unless they are asked for.
    """
    array = _host(name, value)
    if array.dtype.kind == "O":  # numbers in a list of objects are numbers
        array = _converted(name, array, np.float64, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, found {_kind(value)} of dtype {array.dtype}")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused as that
        array = _converted(name, array, dtype, value)
    if finite and not np.isfinite(array).all():
        where = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise ValueError(f"{name}: expected finite numbers, found {array[tuple(where)]} at index {where}")
    return array


def _host(name: str, value: Any) -> NDArray:
    if np.ma.isMaskedArray(value):
        if np.ma.is_masked(value):
            raise TypeError(f"{name}: expected numbers, found a masked array that hides {value.mask.sum()} of them")
        return np.asarray(value.data)
    try:
        return np.asarray(_without_tensors(name, value))
    except ValueError:
        raise TypeError(f"{name}: expected numbers, found {_kind(value)} of uneven lengths or kinds") from None


def _without_tensors(name: str, value: Any) -> Any:
    if callable(getattr(value, "detach", None)):
        return _tensor(name, value)
    return [_without_tensors(name, part) for part in value] if isinstance(value, (list, tuple)) else value


def _tensor(name: str, tensor: Any) -> NDArray:
    """torch's, by its own names: ``detach`` from the graph, to the host, and out of what numpy cannot hold."""
    try:
        tensor = tensor.detach().cpu()
        if str(tensor.dtype).rpartition(".")[2].startswith(("bfloat16", "float8")):
            tensor = tensor.float()
        return np.asarray(tensor.numpy())
    except (TypeError, ValueError, RuntimeError, NotImplementedError):  # sparse, on no device, ...
        raise TypeError(f"{name}: expected dense numbers, found {_kind(tensor)} of dtype {tensor.dtype}") from None


def _converted(name: str, array: NDArray, dtype: DTypeLike, value: Any) -> NDArray:
    try:
        return np.asarray(array, dtype)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected numbers, found {_kind(value)} with {shown(array.flat[0])} in it") from None


def _kind(value: Any) -> str:
    return type(value).__name__
