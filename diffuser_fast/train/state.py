"""What a run needs to go on exactly where it was, in one file that is always whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..formats.torch_file import read_torch


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in its place in one step.

    A full disk or a killed process leaves the old file as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain values, through torch.save."""
    write_whole(path, lambda to: torch.save(state, to))


def load_state(path: Path) -> dict[str, Any]:
    """Read what ``save_state`` wrote; ValueError if it is damaged. Nothing in the file can run code."""
    try:
        return read_torch(path)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a training state that can be resumed ({reason})") from None


class LossLog:
    """One JSON record a line. On resuming, records of steps that will be made again are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [r for r in read_log(path) if r["step"] <= step] if path.exists() else []
        write_whole(path, lambda to: to.write_text("".join(json.dumps(r) + "\n" for r in kept)))
        self._file = path.open("a")

    def write(self, **record: float) -> None:
        """Append a record and hand it to the system at once."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing is written after this."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, float]]:
    """All whole records of a loss log; a line cut short by a kill is skipped."""
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
