"""Which format a path holds, by its content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.contents import START, ZIP, looks_like
from . import decision_diffuser, diffusers, diffusion_policy, kuka, lerobot
from .janner_state import states
from .native import is_native, is_safetensors
from .plain_json import read_json
from .torch_file import is_torch, names
from .torch_zip import Archive

# Format -> what it is, for people. `info` prints it, and so does the error for a file that is none of them.
FORMATS = {
    "native": "a .safetensors file written by diffuser-fast",
    "janner": "a folder or state_*.pt as the original Diffuser writes it",
    "diffusers": "a pipeline's folder of Hugging Face diffusers",
    "cleandiffuser": "a folder with diffusion_ckpt_*.pt of CleanDiffuser",
    "diffusion_policy": "a .ckpt or run of diffusion_policy",
    "decision_diffuser": "a state*.pt or run of Decision Diffuser",
    "kuka": "a model-*.pt or run of the original's kuka branch",
    "lerobot": "a folder of a lerobot DiffusionPolicy",
}
_READABLE = f"readable are {', '.join(list(FORMATS.values())[:-1])} and {list(FORMATS.values())[-1]}"


def sniff(path: Path) -> str:
    """A key of ``FORMATS``; ValueError says what the path looks like instead, or that an archive is cut short."""
    if path.is_dir():
        return _sniff_folder(path)
    with open(path, "rb") as file:
        start = file.read(START)
    if is_safetensors(path):
        if not is_native(path) and diffusers.is_folder(path.parent.parent):
            raise ValueError(f"{path}: one network of a diffusers pipeline; pass the pipeline's folder")
        if not is_native(path) and lerobot.is_folder(path.parent):
            raise ValueError(f"{path}: a part of a lerobot policy; pass its folder")
        return "native"
    if is_torch(path):
        return _sniff_torch(path)
    numpys = start.startswith(ZIP) and any(name.endswith(".npy") for name in names(path))
    raise ValueError(f"{path}: looks like {'a numpy archive' if numpys else looks_like(start)}; {_READABLE}")


def native_file(path: Path) -> Path:
    """The file itself, where ``sniff`` found a native one: the path, or the only .safetensors in the folder."""
    return next(path.glob("*.safetensors")) if path.is_dir() else path


def _sniff_folder(path: Path) -> str:
    if found := states(path):
        return _sniff_torch(found[max(found)])
    if diffusers.is_folder(path):
        return "diffusers"
    if any(path.glob("diffusion_ckpt_*.pt")):
        return "cleandiffuser"
    if lerobot.is_folder(path):
        return "lerobot"
    if diffusion_policy.newest(path) is not None:
        return "diffusion_policy"
    if (state := decision_diffuser.newest(path)) is not None:
        if (kind := _sniff_torch(state)) == "janner":
            raise ValueError(
                f"{state}: it has the original's keys, as a Decision Diffuser's without returns and inverse dynamics "
                "has, and no file says which it is; pass the file itself to read it as the original's"
            )
        return kind
    if (state := kuka.newest(path)) is not None and _sniff_torch(state) == "kuka":
        return "kuka"
    if (kind := lerobot.policy_type(path)) is not None:
        raise ValueError(f"{path}: a lerobot policy of type {kind}, expected diffusion")
    files = sorted(p.name for p in path.glob("*.safetensors"))
    if len(files) == 1:
        return "native"
    if files:
        raise ValueError(
            f"{path}: a folder with {len(files)} .safetensors files; pass one of them: {', '.join(files[:4])}"
        )
    if (path / "config.json").is_file():
        kind = read_json(path / "config.json").get("_class_name")
        what = f"a {kind}" if isinstance(kind, str) and len(kind) < 100 else "a model"
        whole = "; pass the pipeline's folder, above it" if diffusers.is_folder(path.parent) else ""
        raise ValueError(f"{path}: looks like {what} of the Hugging Face hub by itself{whole}; {_READABLE}")
    inside = sorted(p.name for p in path.iterdir())
    some = ", ".join(inside[:4]) + (f" and {len(inside) - 4} more" if len(inside) > 4 else "")
    raise ValueError(f"{path}: a folder with no state_<epoch>.pt in it (there is {some or 'nothing'}); {_READABLE}")


def _sniff_torch(path: Path) -> str:
    """By the keys of its record. What cannot be told is the original's, whose reader says what is wrong."""
    try:
        content: Any = Archive(path).content
    except ValueError:
        return "janner"
    if isinstance(content, Mapping) and "model_ema" in content:
        return "cleandiffuser"
    if decision_diffuser.is_state(content):
        return "decision_diffuser"
    if kuka.is_state(content):
        return "kuka"
    if isinstance(content, Mapping) and "state_dicts" in content:
        return "diffusion_policy"
    return "janner"
