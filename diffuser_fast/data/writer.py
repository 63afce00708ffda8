"""Streams too long to be held: appended block by block to a temporary HDF5 file that takes its place at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from numpy.typing import NDArray

from ..core.whole_file import check_writable, whole_file
from .hdf5 import import_h5py

CHUNK = 1024  # rows that are compressed together


class StreamWriter:
    """A context: what is appended inside is at ``path`` afterwards, or, if anything went wrong, nothing is.

    attributes: of the file; may be added to until the end. The same blocks, however cut, give the same content.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import_h5py()
        self.path, self.attributes, self.steps = check_writable(path), {}, 0

    def __enter__(self) -> StreamWriter:
        h5py = import_h5py()
        with ExitStack() as opened:  # left in the opposite order: attributes, then the HDF5 file, then its name
            self._file = opened.enter_context(h5py.File(opened.enter_context(whole_file(self.path)), "w"))
            opened.push(self._finish)
            self._open = opened.pop_all()
        return self

    def append(self, arrays: Mapping[str, NDArray]) -> None:
        """Rows under D4RL's names (``infos/qpos`` and so on): arrays of one length, the same names every time."""
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{self.path}: found blocks of lengths {lengths}, expected one length")
        stop = self.steps + next(iter(lengths.values()))
        for name, array in arrays.items():
            if name not in self._file:
                self._file.create_dataset(
                    name, shape=(0, *array.shape[1:]), maxshape=(None, *array.shape[1:]), dtype=array.dtype,
                    chunks=(CHUNK, *array.shape[1:]), compression="gzip", compression_opts=1, shuffle=True,
                )  # fmt: skip
            dataset = self._file[name]
            dataset.resize(stop, axis=0)
            dataset[self.steps : stop] = array
        self.steps = stop

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def _finish(self, kind: type | None, *_: Any) -> None:
        for name, value in self.attributes.items() if kind is None else ():
            self._file.attrs[name] = value
