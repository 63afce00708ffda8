"""Files that torch writes, read as inert data: tensors, plain values, and nothing that is run.

The content is looked at before torch sees it, and torch's own words are never handed on: on a damaged file they advise
the reader to switch its safety off.
"""

from __future__ import annotations

import pickle
import re
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ..core.contents import START, TORCH_LEGACY, ZIP, looks_like
from .inert import STAND_INS, Refused

_ALLOWING = threading.Lock()  # what torch is told to allow, it allows in the whole process
_CUT = "cut short or damaged: it starts like a zip archive (as torch writes) and does not end as one"


def is_torch(path: Path) -> bool:
    """Whether a file has the content of one of torch's; ValueError for an archive that is cut short or damaged."""
    with open(path, "rb") as file:
        start = file.read(START)
    if not start.startswith(ZIP):
        return start.startswith(TORCH_LEGACY)
    return any(name.endswith("data.pkl") for name in names(path))


def names(path: Path) -> list[str]:
    """What is in a zip archive; ValueError if it is cut short or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise ValueError(f"{path}: {_CUT}") from None


def read_torch(path: Path) -> Any:
    """What ``torch.save`` wrote, by torch's weights_only reader, tensors on the host.

    Numbers and arrays of numpy, paths and slices are read as ``inert`` has them. Raises ValueError naming the file:
    of another content, cut short, damaged, or asking for a call of anything else; ImportError without torch.
    """
    if not is_torch(path):
        with open(path, "rb") as file:
            start = file.read(START)
        raise ValueError(f"{path}: looks like {looks_like(start)}; expected a file of torch's")
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{path}: a checkpoint of PyTorch's; pip install diffuser-fast[torch] reads it "
            "(diffuser-fast convert then writes one that needs no torch)",
            name="torch",
        ) from None
    allowed = [(function, name) for name, function in STAND_INS.items() if name != "_codecs.encode"]  # torch has that
    try:
        with _ALLOWING, warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)|(?:function|class|but got) <?(?:built-in )?([\w.' ]{1,80})", str(error))
        what = f"asks for {asked[1] or asked[2].strip()}" if asked else "is damaged, or no record of tensors"
        why = f"refused by torch's weights_only reader: its pickle {what}; nothing was run"
        raise ValueError(f"{path}: {why}") from None
    except Refused as error:
        raise ValueError(f"{path}: its pickle {error}; nothing was run") from None
    except OSError:
        raise
    except Exception as error:  # a damaged archive raises whatever its bytes lead to
        raise ValueError(f"{path}: cut short or damaged ({type(error).__name__} in torch's reader)") from None
