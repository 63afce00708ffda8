"""Files are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to: on the disk, then renamed, if nothing went wrong inside the block.

    Readers see the old file or the new one; a full disk, an interrupt or a killed process leave the old one. A link
    stays a link: what it leads to is replaced. A file keeps its mode. What is there and is no file (a device, a pipe)
    is written into, when all is known to be well.
    """
    path, mode = path.resolve() if path.is_symlink() else path, None
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent} to write to")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder, expected the name of a file to write")
    if path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
        if not os.access(path, os.W_OK):
            raise PermissionError(f"{path}: found a file that may not be written to")
        if not path.is_file():
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder) / "content"
                yield temporary
                with open(temporary, "rb") as source, open(path, "wb") as sink:
                    shutil.copyfileobj(source, sink)
            return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # not tempfile: closed to other users
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
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


def check_writable(path: Path) -> Path:
    """``path``, whose folder exists (it is made if need be) and may be written to: asked before hours of work.

    Raises IsADirectoryError for a folder, NotADirectoryError where one is needed, PermissionError or another OSError.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: found a folder, expected the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{path}: {path.parent} is no folder") from None
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path}: found a folder that may not be written to, expected one that may")
    return path
