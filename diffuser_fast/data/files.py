"""Streams in files: HDF5 as D4RL writes it, or NPZ with the same names.

Read are `observations`, `actions`, `rewards`, `terminals`, `timeouts`, all under `infos/` that has a time
axis, and the attributes of an HDF5 file. Writing replaces a file in one move: whoever opens it finds the old
stream or the new one.
"""

import os
import zipfile
from pathlib import Path

import numpy as np

from .stream import FIELDS, Stream, from_arrays, require

HDF5_MAGIC, ZIP_MAGIC = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"


def load_stream(path) -> Stream:
    """Read an HDF5 or NPZ file, told apart by content, not by name.

    Raises FileNotFoundError, or ValueError for a foreign or damaged file, a missing field, unequal lengths,
    wrong shapes or non-finite numbers; each names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: found {'a folder' if path.is_dir() else 'nothing'}, expected an HDF5 or NPZ file"
        )
    with path.open("rb") as file:
        head = file.read(len(HDF5_MAGIC))
    if head == HDF5_MAGIC:
        return from_arrays(*_read_hdf5(path), source=str(path))
    if head.startswith(ZIP_MAGIC):
        return from_arrays(_read_npz(path), source=str(path))
    raise ValueError(f"{path}: found a file that begins with {head!r}, expected an HDF5 or NPZ file")


def save_stream(stream: Stream, path) -> Path:
    """Write `stream` as HDF5, whole or not at all, and return the path.

    A temporary file in the same folder takes the old file's place at the very end. Whatever goes wrong before
    (a full disk, an interrupt) leaves the old file untouched.
    """
    h5py = import_h5py()
    path = check_writable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(temporary, "w") as file:
            for name in FIELDS:
                _write(file, name, getattr(stream, name))
            for name, array in stream.infos.items():
                _write(file, f"infos/{name}", array)
            for name, value in stream.attributes.items():
                file.attrs[name] = value
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def check_writable(path) -> Path:
    """`path` as a Path whose folder exists (it is made if need be) and may be written to.

    Raises ImportError without h5py, IsADirectoryError for a folder, PermissionError or another OSError.
    """
    import_h5py()
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: found a folder, expected the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path}: found a folder that may not be written to, expected one that may")
    return path


def import_h5py():
    """The h5py module, or an ImportError that names the cure."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: pip install diffuser-fast[envs]") from error
    return h5py


def _read_hdf5(path: Path) -> tuple[dict, dict]:
    h5py = import_h5py()
    try:
        with h5py.File(path, "r") as file:
            require([name for name in file if isinstance(file[name], h5py.Dataset)], str(path))
            infos = file.get("infos", {})
            names = [name for name in FIELDS if name in file] + [
                f"infos/{name}" for name in infos if isinstance(infos[name], h5py.Dataset) and infos[name].ndim
            ]
            arrays = {name: file[name][()] for name in names}
            attributes = {name: _plain(value) for name, value in file.attrs.items()}
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: found a damaged HDF5 file ({error}), expected a readable one") from error
    return arrays, attributes


def _read_npz(path: Path) -> dict:
    try:
        # Opened here, because numpy leaves a file open that turns out to be damaged.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: found a damaged NPZ file ({error}), expected plain arrays") from error


def _write(file, name: str, array: np.ndarray) -> None:
    # Shuffled bytes and gzip at its fastest: a Maze2D stream shrinks to about a half, flags to nothing.
    file.create_dataset(name, data=array, compression="gzip", compression_opts=1, shuffle=True)


def _plain(value):
    """An HDF5 attribute as a Python string or number, or as an array."""
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
