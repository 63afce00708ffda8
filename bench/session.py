"""One run of one command: what was asked for is found, the ceiling measured, a log opened, the work done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from . import ladder, layers, machine, memory, roofline, tails
from .peers import Candidate, Settings, candidates
from .rows import RESULTS, Log
from .screen import Screen
from .workloads import Workload
from .workloads import ladder as all_workloads


@dataclass(frozen=True)
class Request:
    """The options of the command; ``what``: "ladder", "tails", "layers" or "memory"."""

    what: str = "ladder"
    threads: int = 2
    isa: str | None = None
    summary: bool = False
    quick: bool = False
    only: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    every_isa: bool = False
    budget: float | None = None
    calls: int | None = None
    results: Path = RESULTS
    quiet: bool = False


@dataclass(frozen=True)
class Session:
    """A request with everything it needs to be done."""

    request: Request
    workloads: list[Workload]
    candidates: list[Candidate]
    settings: Settings
    ceiling: roofline.Ceiling
    log: Log
    screen: Screen


def session(request: Request) -> Log:
    """Do it; ValueError, before anything is measured, on names that match nothing."""
    said = all_workloads()
    sets = {"tails": said.tails["workloads"], "layers": said.layers, "memory": said.memory}
    names = sets.get(request.what, said.quick if request.quick else said.summary if request.summary else None)
    workloads = said.select(request.only, None if request.only and request.what in sets else names)
    everyone = candidates(request.candidates, request.every_isa)
    screen = Screen(request.quiet)
    load = machine.load()
    if load is not None and load / machine.usable_cores() > machine.NOISY:
        screen.warn(f"load average {load:.1f} on {machine.usable_cores()} cores: this machine is not quiet")
    ceiling = roofline.measure(request.threads, request.isa)
    log = _open(request, ceiling, load)
    screen.ceiling(ceiling)
    settings = Settings(request.threads, request.isa, request.quick, said.quick_compiled)
    RUNS[request.what](Session(request, workloads, everyone, settings, ceiling, log, screen))
    return log


def _ladder(s: Session) -> None:
    plan = ladder.QUICK if s.request.quick else ladder.FULL
    plan = replace(plan, budget=s.request.budget) if s.request.budget else plan
    for n, workload in enumerate(s.workloads, 1):
        s.screen.progress(n, len(s.workloads), workload.name)
        fields = ladder.rung(workload, s.candidates, s.settings, plan, s.ceiling)
        s.screen.rung([s.log.append("timing", one) for one in fields])


def _tails(s: Session) -> None:
    calls = s.request.calls or all_workloads().tails["calls"]
    for n, workload in enumerate(s.workloads, 1):
        s.screen.progress(n, len(s.workloads), f"{workload.name}: {calls} calls, {s.settings.threads} threads")
        s.screen.tail(s.log.append("tail", tails.tail(workload, s.settings, calls)))


def _layers(s: Session) -> None:
    for n, workload in enumerate(s.workloads, 1):
        s.screen.progress(n, len(s.workloads), workload.name)
        fields = layers.layers(workload, s.settings, s.ceiling)
        s.screen.layers([s.log.append("layer", one) for one in fields])


def _memory(s: Session) -> None:
    for n, workload in enumerate(s.workloads, 1):
        s.screen.progress(n, len(s.workloads), workload.name)
        fields = (memory.alone(workload, candidate, s.settings) for candidate in s.candidates)
        s.screen.memory([s.log.append("memory", one) for one in fields])


RUNS: dict[str, Callable[[Session], None]] = {
    "ladder": _ladder, "tails": _tails, "layers": _layers, "memory": _memory,
}  # fmt: skip


def _open(request: Request, ceiling: roofline.Ceiling, load: float | None) -> Log:
    head, dirty = machine.commit()
    return Log(
        {
            "command": " ".join(["python -m bench", *sys.argv[1:]]),
            "commit": head,
            "dirty": dirty,
            "machine": machine.fingerprint(),
            "versions": machine.versions(),
            "ceiling": ceiling.to_json(),
            "threads": request.threads,
            "isa": request.isa,
            "quick": request.quick,
            "load": load,
        },
        request.results,
    )
