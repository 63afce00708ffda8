"""Which format a path holds, by its content."""

from __future__ import annotations

import zipfile
from pathlib import Path

from .janner_state import states
from .native import is_safetensors

# Format -> what it is, for people. `info` prints it, and so does the error for a file that is none of them.
FORMATS = {
    "native": "a .safetensors file written by diffuser-fast",
    "janner": "a folder or state_*.pt as the original Diffuser writes it",
}
_READABLE = f"readable are {' and '.join(FORMATS.values())}"

# How other files start. Legacy files of torch are pickles that begin with a magic number.
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
_STARTS = {
    b"version https://git-lfs": "a pointer of Git LFS; `git lfs pull` fetches the file itself",
    b"\x89HDF": "an HDF5 file (data sets are for `diffuser-fast data` and `train`)",
    b"\x93NUMPY": "a numpy array",
    b"\x1f\x8b": "a gzip archive",
    b"GIF8": "a picture",
    b"\x89PNG": "a picture",
    b"<": "a web page or XML",
    b"{": "JSON (statistics go to load(..., normalizer=path))",
    b"\x80": "a bare pickle (of a configuration, perhaps: pass its folder)",
}


def sniff(path: Path) -> str:
    """ "native" or "janner"; ValueError says what the path looks like instead, or that an archive is cut short."""
    if path.is_dir():
        return _sniff_folder(path)
    with open(path, "rb") as file:
        start = file.read(64)
    if is_safetensors(path):
        return "native"
    if start.startswith(_TORCH_LEGACY):
        return "janner"
    if start.startswith(b"PK"):
        return _sniff_zip(path)
    what = next((what for magic, what in _STARTS.items() if start.startswith(magic)), "nothing known")
    raise ValueError(f"{path}: looks like {what if start else 'an empty file'}; {_READABLE}")


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


def _sniff_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise ValueError(
            f"{path}: cut short or damaged: it starts like a zip archive (as torch writes) and does not end as one"
        ) from None
    if any(name.endswith("data.pkl") for name in names):
        return "janner"
    kind = "a numpy archive" if any(name.endswith(".npy") for name in names) else "a zip archive"
    raise ValueError(f"{path}: looks like {kind}; {_READABLE}")
