"""Checkpoints that come with the package: ``<name>.safetensors`` in this folder, each with a model card beside it."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """The names of the bundled checkpoints, sorted."""
    return sorted(file.stem for file in _FOLDER.glob("*.safetensors"))


def path(name: str) -> Path:
    """The file of a bundled checkpoint; ValueError lists the names there are."""
    if name not in names():
        raise ValueError(f"pretrained: found {name!r}, expected one of: {', '.join(names()) or '(none are bundled)'}")
    return _FOLDER / f"{name}.safetensors"
