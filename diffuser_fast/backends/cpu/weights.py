"""Packed weights, each made once and shared by all engines that want it: of every batch, horizon and planner."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import pack
from .algorithms import Packing, packed

_packed: dict[tuple[int, Packing], weakref.ref[NDArray]] = {}
_lock = threading.Lock()


def shared(wanted: Sequence[tuple[NDArray, Packing]]) -> list[NDArray[np.float32]]:
    """Each weight as its packing says. What no engine holds any longer is forgotten.

    Weights are told apart by their identity: nobody may write into an array that a network was made of.
    """
    with _lock:
        found: dict[tuple[int, Packing], NDArray] = {}
        missing: dict[tuple[int, Packing], NDArray] = {}
        for weight, packing in wanted:
            key = (id(weight), packing)
            ref = _packed.get(key)
            kept = None if ref is None else ref()
            if kept is not None:
                found[key] = kept
            elif key not in missing:
                missing[key] = weight
        made = pack.contiguous([packed(np.asarray(w), key[1]) for key, w in missing.items()]) if missing else []
        for (key, weight), array in zip(missing.items(), made, strict=True):
            found[key] = array
            _packed[key] = weakref.ref(array)
            weakref.finalize(weight, _packed.pop, key, None)  # its identity may then be another's
        return [found[id(weight), packing] for weight, packing in wanted]
