"""The original's ``state_<epoch>.pt``: found by number, read as inert data, given as numpy arrays."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import as_numbers
from ..core.scalars import plain
from .janner_keys import some
from .state_dict import plain_keys
from .torch_file import read_torch


def states(folder: Path) -> dict[int, Path]:
    """Epoch -> ``state_<epoch>.pt`` in a folder."""
    return {epoch_of(p): p for p in folder.glob("state_*.pt") if epoch_of(p) is not None and p.is_file()}


def epoch_of(file: Path) -> int | None:
    """The number in a state file's name, or None."""
    found = re.fullmatch(r"state_(\d{1,12})\.pt", file.name)
    return int(found[1]) if found else None


def read_state(file: Path) -> tuple[dict[str, NDArray], int | None]:
    """The "ema" state dict as numpy arrays (float32, wider where the file is), and the step it was written at.

    Keys are the bare network's, whatever wrapped it when they were written (torch.compile, DataParallel).
    """
    content = read_torch(file)
    ema = content.get("ema") if isinstance(content, dict) else None
    if not isinstance(ema, dict) or not all(hasattr(v, "dtype") for v in ema.values()):
        found = some(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{file}: expected a record with 'step', 'model' and 'ema', found {found}")
    try:
        arrays = {key: _wide(key, value) for key, value in plain_keys(ema).items()}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from None
    step = plain(content.get("step"))
    return arrays, step if type(step) is int else None


def _wide(key: str, value: object) -> NDArray:
    double = str(value.dtype).endswith("float64")
    return as_numbers(key, value, np.float64 if double else np.float32, finite=False)
