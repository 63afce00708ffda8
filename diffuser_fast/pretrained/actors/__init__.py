"""Behaviour policies that make the locomotion data: ``<body>-<level>.safetensors``, each with its card as JSON."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """The names of the bundled files, sorted."""
    return sorted(file.stem for file in _FOLDER.glob("*.safetensors"))


def path(name: str) -> Path:
    """The file of a bundled level (``hopper-medium``); ValueError lists the names there are."""
    if name not in names():
        raise ValueError(f"actors: found {name!r}, expected one of: {', '.join(names()) or '(none are bundled)'}")
    return _FOLDER / f"{name}.safetensors"
