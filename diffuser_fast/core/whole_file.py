"""Files are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to: on the disk, then renamed, if nothing went wrong inside the block.

    Readers see the old file or the new one; a full disk, an interrupt or a killed process leave the old one.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent} to write to")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder, expected the name of a file to write")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # not tempfile: closed to other users
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":  # the rename itself must survive a power cut
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_whole(path: Path, content: bytes) -> None:
    """The whole content, or what was there before."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
