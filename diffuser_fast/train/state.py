"""What a run needs to go on exactly where it was, in one file that is always whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..core.whole_file import whole_file, write_whole
from ..formats.torch_file import read_torch

STATE = "training.pt"  # its name in the run's folder


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain values, through torch.save."""
    with whole_file(path) as temporary:
        torch.save(state, temporary)


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
        write_whole(path, "".join(json.dumps(r) + "\n" for r in kept).encode())
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
