"""Streams in files: read in whatever format they come, written as HDF5 with D4RL's names.

Read are flat HDF5 files (D4RL's, and those of `diffuser-fast data`), NPZ with the same names, robomimic's HDF5 files
and Minari's data sets, told apart by their content. Writing replaces a file in one move: whoever opens it finds the old
stream or the new one.
"""

import contextlib
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..core.contents import HDF5, START, ZIP, looks_like
from ..core.whole_file import check_writable, whole_file
from .fields import FIELDS, Choice, choose, gathered
from .hdf5 import import_h5py, read_flat
from .minari import minari_folder, read_minari
from .robomimic import is_robomimic, read_robomimic
from .stream import Stream, from_arrays

EXPECTED = "an HDF5 or NPZ file, or a Minari data set"


def load_stream(path, fields: Choice | None = None) -> Stream:
    """Read a data set: a file, told apart by content and not by name, a Minari folder, or a name in Minari's store.

    fields: which arrays of the file are ours, where it has other names than D4RL's and Gymnasium's,
    {"observations": "obs"}; several are joined along their last axis. Raises FileNotFoundError, or ValueError for a
    foreign or damaged file, a missing field, unequal lengths, wrong shapes or non-finite numbers; each names the file.
    """
    path = Path(path)
    folder = minari_folder(path)
    if folder is not None:
        return read_minari(folder, fields, str(path))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: found {'a folder' if path.is_dir() else 'nothing'}, expected {EXPECTED}")
    with path.open("rb") as file:
        start = file.read(START)
    if start.startswith(HDF5):
        return _read_hdf5(path, fields)
    if start.startswith(ZIP):
        return _read_npz(path, fields)
    looks = looks_like(start)
    found = f"a file that begins with {start[:8]!r}" if looks == "nothing known" else looks
    raise ValueError(f"{path}: found {found}, expected {EXPECTED}")


def save_stream(stream: Stream, path) -> Path:
    """Write `stream` as HDF5, whole or not at all, and return the path."""
    h5py = import_h5py()
    path = check_writable(path)
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        for name in FIELDS:
            _write(file, name, getattr(stream, name))
        for name, array in stream.infos.items():
            _write(file, f"infos/{name}", array)
        for name, value in stream.attributes.items():
            file.attrs[name] = value
    return path


def _read_hdf5(path: Path, fields: Choice | None) -> Stream:
    h5py = import_h5py()
    try:
        with h5py.File(path, "r") as file:
            if "episode_0" in file:
                raise ValueError(f"{path}: found Minari's data without its metadata.json, expected the folder of both")
            read = read_robomimic if is_robomimic(file) else read_flat
            return read(file, fields, str(path))
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: found a damaged HDF5 file ({error}), expected a readable one") from error


def _read_npz(path: Path, fields: Choice | None) -> Stream:
    try:
        # Opened here, because numpy leaves a file open that turns out to be damaged.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = gathered(lambda name: _array(file, name, path), choose(file.files, fields, str(path)), str(path))
            return from_arrays(found | _infos(file, len(found["actions"])), source=str(path))
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path}: found a damaged NPZ file ({error}), expected plain arrays") from error


def _array(file, name: str, path: Path) -> np.ndarray:
    try:
        return file[name]
    except ValueError:  # numpy's own words are about switching its safety off
        raise ValueError(f"{path}: {name}: found Python objects or a damaged array, expected numbers") from None


def _infos(file, steps: int) -> dict[str, np.ndarray]:
    """What else has a step axis; what cannot be read is nobody's loss."""
    found = {}
    for name in file.files:
        if name.startswith("infos/"):
            with contextlib.suppress(ValueError):
                if file[name].dtype.kind in "biuf" and file[name].shape[:1] == (steps,):
                    found[name] = file[name]
    return found


def _write(file, name: str, array: np.ndarray) -> None:
    # Shuffled bytes and gzip at its fastest: a Maze2D stream shrinks to about a half, flags to nothing.
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if array.size else {}
    file.create_dataset(name, data=array, **packed)
