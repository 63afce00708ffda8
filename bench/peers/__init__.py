"""Who is timed: the register of candidates. Each is an object with ``name``, ``ours``, ``why_not`` and ``ready``."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from ..problem import Problem


@dataclass(frozen=True)
class Settings:
    """threads: of every candidate alike. isa: the widest instruction set allowed, or None.

    quick: take no detours; ``compiled`` names the workloads that are worth torch.compile's time even so.
    """

    threads: int = 2
    isa: str | None = None
    quick: bool = False
    compiled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ready:
    """A candidate with a problem's inputs at hand, in whatever form it likes best.

    run: what is timed. answer: run's result -> arrays by name (see ``Problem.answer``). note: how it was made ready.
    """

    run: Callable[[], Any]
    answer: Callable[[Any], dict[str, NDArray]]
    note: str = ""


class Candidate(Protocol):
    """An engine of ours, or a peer. ``ours``: it is compared with the best peer, and is none."""

    name: str
    ours: bool

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        """Why it takes no part in this workload here, in a sentence, or None."""
        ...

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """Everything that a user would do once: loading, compiling, exporting."""
        ...


def candidates(only: Iterable[str] = (), every_isa: bool = False) -> list[Candidate]:
    """Peers first, then ours. only: patterns of names; with "!" before it, of names to leave out.

    ValueError if none is left.
    """
    from . import compiled, eager, onnx, openvino, ours

    exports = onnx.Exports()
    peers = [eager.Eager(), compiled.Compiled(), onnx.OnnxRuntime(exports), openvino.OpenVino(exports)]
    everyone = [*peers, *ours.engines(every_isa)]
    patterns = list(only)
    wanted = [p for p in patterns if not p.startswith("!")]
    unwanted = [p[1:] for p in patterns if p.startswith("!")]
    found = [c for c in everyone if not wanted or any(_matches(c.name, p) for p in wanted)]
    found = [c for c in found if not any(_matches(c.name, p) for p in unwanted)]
    if not found:
        raise ValueError(
            f"--candidates: nothing matches {', '.join(patterns)}; there are {', '.join(c.name for c in everyone)}"
        )
    return found


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or pattern.lower() in name.lower()
