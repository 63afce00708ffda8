"""Flat HDF5 files, as D4RL writes them: one array per field, all steps in a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from .fields import Choice, choose, gathered
from .stream import Stream, from_arrays


def import_h5py() -> Any:
    """The h5py module, or an ImportError that names the cure."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: pip install diffuser-fast[envs]", name="h5py") from error
    return h5py


def read_flat(file: Any, fields: Choice | None, source: str) -> Stream:
    """An open file -> Stream. What nobody asks for is not read: text, objects, and infos without a step axis."""
    h5py, arrays = import_h5py(), {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item

    file.visititems(note)
    arrays |= _linked(file)
    chosen = choose(arrays, fields, source)
    found = gathered(lambda name: numbers(arrays[name], source, name), chosen, source)
    steps = len(found["observations"]) if np.ndim(found["observations"]) else 0
    for name, item in arrays.items():
        if name.startswith("infos/") and item.dtype.kind in "biuf" and item.shape[:1] == (steps,):
            found[name] = item[()]
    attributes = {name: plain(value) for name, value in file.attrs.items() if not isinstance(value, h5py.Empty)}
    return from_arrays(found, attributes, source)


def _linked(file: Any) -> dict[str, Any]:
    """Arrays behind soft links, which ``visititems`` passes by."""
    h5py, found, groups = import_h5py(), {}, [file]
    file.visititems(lambda _, item: groups.append(item) if isinstance(item, h5py.Group) else None)
    for group in groups:
        for name in group:
            item = group.get(name) if isinstance(group.get(name, getlink=True), h5py.SoftLink) else None
            if isinstance(item, h5py.Dataset):
                found[f"{group.name}/{name}".lstrip("/")] = item
    return found


def numbers(item: Any, source: str, name: str) -> np.ndarray:
    """One array; ValueError if it holds no numbers (HDF5 has text and objects too)."""
    if item.dtype.kind not in "biuf":
        raise ValueError(f"{source}: {name}: found dtype {item.dtype}, expected numbers")
    return item[()]


def plain(value: Any) -> Any:
    """An HDF5 attribute as a Python string or number, as an array of numbers, or as a list of strings."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
        return [plain(one) if isinstance(one, (bytes, str)) else str(one) for one in value.ravel()]
    return value.item() if isinstance(value, np.generic) else value
