"""Diffusion planning in real time: Diffuser (Janner et al. 2022) on compiled engines.

    import diffuser_fast as dfx
    planner = dfx.Planner(dfx.load("maze2d-umaze"))
    plans = planner.plan({0: obs, -1: goal})

Importing this loads neither torch nor MuJoCo: names are looked up when they are first used (PEP 562).
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

_HOMES = {
    "load": ".formats",
    "Planner": ".planner",
    "Plans": ".planner",
    "Replay": ".planner",
    "Prefix": ".core.prefix",
    "Executor": ".control.executor",
    "Stepped": ".control.executor",
    "Guide": ".core.guidance",
    "Cost": ".core.cost",
    "accelerate": ".dropin",
    "export": ".bundle",
    "BusyError": ".backends.engine",
    "CancelledError": ".backends.engine",
}
__all__ = ["__version__", *sorted(_HOMES)]

try:
    __version__ = version("diffuser-fast")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "unknown"


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
