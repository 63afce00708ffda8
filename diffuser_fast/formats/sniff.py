"""Which format a path holds, by its content."""

from __future__ import annotations

from pathlib import Path

from ..core.contents import START, ZIP, looks_like
from .janner_state import states
from .native import is_safetensors
from .torch_file import is_torch, names

# Format -> what it is, for people. `info` prints it, and so does the error for a file that is none of them.
FORMATS = {
    "native": "a .safetensors file written by diffuser-fast",
    "janner": "a folder or state_*.pt as the original Diffuser writes it",
}
_READABLE = f"readable are {' and '.join(FORMATS.values())}"


def sniff(path: Path) -> str:
    """ "native" or "janner"; ValueError says what the path looks like instead, or that an archive is cut short."""
    if path.is_dir():
        return _sniff_folder(path)
    with open(path, "rb") as file:
        start = file.read(START)
    if is_safetensors(path):
        return "native"
    if is_torch(path):
        return "janner"
    numpys = start.startswith(ZIP) and any(name.endswith(".npy") for name in names(path))
    raise ValueError(f"{path}: looks like {'a numpy archive' if numpys else looks_like(start)}; {_READABLE}")


def native_file(path: Path) -> Path:
    """The file itself, where ``sniff`` found a native one: the path, or the only .safetensors in the folder."""
    return next(path.glob("*.safetensors")) if path.is_dir() else path


def _sniff_folder(path: Path) -> str:
    if states(path):
        return "janner"
    files = sorted(p.name for p in path.glob("*.safetensors"))
    if len(files) == 1:
        return "native"
    if files:
        raise ValueError(
            f"{path}: a folder with {len(files)} .safetensors files; pass one of them: {', '.join(files[:4])}"
        )
    if (path / "unet" / "config.json").is_file() or (path / "config.json").is_file():
        raise ValueError(f"{path}: looks like a model of the Hugging Face hub, which is not readable yet; {_READABLE}")
    inside = sorted(p.name for p in path.iterdir())
    some = ", ".join(inside[:4]) + (f" and {len(inside) - 4} more" if len(inside) > 4 else "")
    raise ValueError(f"{path}: a folder with no state_<epoch>.pt in it (there is {some or 'nothing'}); {_READABLE}")
