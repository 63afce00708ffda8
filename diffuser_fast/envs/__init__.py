"""Environments: Maze2D and Multi2D (point mass in MuJoCo, exactly D4RL's), their scores and their pictures.

Importing this package registers `diffuser_fast/maze2d-umaze-v1` and its siblings with Gymnasium, where that
is installed. MuJoCo, matplotlib and Pillow are loaded when first needed. Scores and layouts need numpy only.
"""

import importlib
import importlib.util

_HOME = {
    "LAYOUTS": "layouts",
    "Layout": "layouts",
    "Maze2dEnv": "maze2d",
    "PointMass": "physics",
    "draw_maze": "draw",
    "draw_path": "draw",
    "draw_paths": "draw",
    "layout_of": "layouts",
    "make": "maze2d",
    "normalized_score": "scores",
    "rasterise": "raster",
    "reference_returns": "scores",
    "write_gif": "raster",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__


if importlib.util.find_spec("gymnasium") is not None:
    from .maze2d import register

    register()
