"""The registry of backends: what can run a sampling loop here, what cannot, and why."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..core.loop import SamplingLoop
from ..settings import BACKENDS
from .driver import why_no_gpu
from .engine import Backend, Engine, Seeded


@dataclass(frozen=True)
class Registered:
    """needs: package -> the extra that has it. early: why the backend cannot run here, asked before it is loaded."""

    needs: Mapping[str, str] = field(default_factory=dict)
    early: Callable[[], str | None] = lambda: None


REGISTRY = {
    "cpu": Registered(),
    "triton": Registered({"torch": "gpu", "triton": "gpu"}, lambda: why_no_gpu()),
    "cuda": Registered(early=lambda: why_no_gpu()),
    "reference": Registered({"torch": "torch"}),
}
NAMES = BACKENDS
# What "auto" chooses from, in order; the reference is for checking, and comes last. A GPU backend enters when a row of
# bench/results shows it right, and faster than its peers, on a GPU (tests/backends/test_registry.py compares the two).
AUTO = ("cpu", "reference")
NOT_AUTO = dict.fromkeys(("triton", "cuda"), "no benchmark has shown it right and faster on a GPU yet")

__all__ = ["AUTO", "NAMES", "NOT_AUTO", "Backend", "Engine", "Seeded", "choose", "get", "why_not"]


def get(name: str) -> Backend:
    """A backend's module; ValueError on an unknown name, ImportError naming the cure where something is missing."""
    if name not in NAMES:
        raise ValueError(f"backend: found {name!r}, expected 'auto' or one of {', '.join(NAMES)}")
    try:
        return importlib.import_module(f".{name}", __name__)
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        extra = REGISTRY[name].needs.get(package)
        if extra is None:
            raise
        cure = f"pip install diffuser-fast[{extra}]"
        raise ImportError(f"backend {name!r} needs {package}: {cure}", name=package) from None


def why_not(name: str, loop: SamplingLoop, device: str | None = None) -> str | None:
    """Why this backend cannot run the loop here, in a sentence, or None. Without a GPU this does not load torch."""
    if name in REGISTRY and (reason := REGISTRY[name].early()) is not None:
        return reason
    try:
        return get(name).why_not(loop, device)
    except (ImportError, ValueError) as error:
        return str(error)


def choose(name: str, loop: SamplingLoop, device: str | None = None) -> str:
    """The backend to use: ``name`` if it can run (ValueError says why it cannot), for "auto" the first of ``AUTO``
    that can.
    """
    if name != "auto":
        get(name)  # an unknown name is its own error
        reason = why_not(name, loop, device)
        if reason:
            raise ValueError(f"backend: {name!r} cannot run here: {reason}")
        return name
    reasons = {}
    for candidate in AUTO:
        reasons[candidate] = why_not(candidate, loop, device)
        if reasons[candidate] is None:
            return candidate
    raise RuntimeError("no backend can run here: " + "; ".join(f"{n}: {r}" for n, r in reasons.items()))
