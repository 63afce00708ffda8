"""Checkpoints that come with the package: ``<name>.safetensors`` in this folder, each with a model card beside it.

A wheel has some of them. Those that it leaves out (``APART``) lie in a checkout all the same, and elsewhere in the
folder that DIFFUSER_FAST_PLANNERS names, as planners of one's own may.
"""

from __future__ import annotations

from pathlib import Path

from ..settings import SETTINGS

APART = ("halfcheetah-medium", "maze2d-large")  # as in pyproject.toml, exclude-package-data
_FOLDER = Path(__file__).resolve().parent


def _folders() -> list[Path]:
    return [_FOLDER, *([SETTINGS.planners] if SETTINGS.planners else [])]


def names() -> list[str]:
    """The names of the checkpoints there are, sorted."""
    return sorted({file.stem for folder in _folders() for file in folder.glob("*.safetensors")})


def path(name: str) -> Path:
    """The file of a checkpoint by name. ValueError lists the names there are; FileNotFoundError says where one of
    ``APART`` is to be had."""
    for folder in _folders():
        if name in (file.stem for file in folder.glob("*.safetensors")):
            return folder / f"{name}.safetensors"
    if name in APART:
        raise FileNotFoundError(
            f"{name}: a planner that wheels leave out, for its size. {name}.safetensors lies in the project's "
            "repository, in diffuser_fast/pretrained, with presets and model card: put these into a folder and name "
            "that in DIFFUSER_FAST_PLANNERS, or give the file's path"
        )
    raise ValueError(f"pretrained: found {name!r}, expected one of: {', '.join(names()) or '(none are bundled)'}")
