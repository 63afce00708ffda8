"""The original's ``state_<epoch>.pt``: found by number, read by torch's weights_only reader, given as numpy arrays."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

from numpy.typing import NDArray

from .janner_keys import some


def states(folder: Path) -> dict[int, Path]:
    """Epoch -> ``state_<epoch>.pt`` in a folder."""
    return {epoch_of(p): p for p in folder.glob("state_*.pt") if epoch_of(p) is not None and p.is_file()}


def epoch_of(file: Path) -> int | None:
    """The number in a state file's name, or None."""
    found = re.fullmatch(r"state_(\d{1,12})\.pt", file.name)
    return int(found[1]) if found else None


def read_state(file: Path) -> tuple[dict[str, NDArray], int | None]:
    """The "ema" state dict as numpy arrays (float32, wider where the file is), and the step it was written at."""
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{file}: a checkpoint of PyTorch's; pip install diffuser-fast[torch] reads it "
            "(diffuser-fast convert then writes one that needs no torch)"
        ) from None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"its pickle asks for {asked[1]}" if asked else str(error).split("\n")[0]
        raise ValueError(f"{file}: refused by torch's weights_only reader: {what}; nothing was run") from None
    except OSError:
        raise
    except Exception as error:  # a damaged archive raises whatever its bytes lead to
        reason = str(error).split("\n")[0]
        raise ValueError(f"{file}: cut short or not a checkpoint ({type(error).__name__}: {reason})") from None
    ema = content.get("ema") if isinstance(content, dict) else None
    if not isinstance(ema, dict) or not all(isinstance(v, torch.Tensor) for v in ema.values()):
        found = some(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{file}: expected a record with 'step', 'model' and 'ema', found {found}")
    wide = {key: v.numpy() if v.dtype == torch.float64 else v.float().numpy() for key, v in ema.items()}
    step = content.get("step")
    return wide, step if isinstance(step, int) else None
