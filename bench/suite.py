"""A run of one command: what was asked for is found, the limits measured, a log opened, the work done."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from . import case, machine, roofline
from .peers import Candidate, Settings, candidates
from .recording import Console
from .records import RESULTS, Case, Log, Sheet
from .remote import Remote
from .repetitions import FRONT_PAGE, FULL, QUICK, Repetitions
from .workloads import Workload, workloads

THREADS = {"suite": [2], "layers": [2], "tails": [1, 2]}  # two cores: the smallest machine that we promise anything for
KINDS = {"tails": ("plan", "guided"), "layers": ("step", "gradient")}
LEFT_OUT = {"quick": ["!torch.compile"], "summary": ["!torch.compile"]}  # what takes minutes to get ready
OPS = machine.SCRATCH / "layers"  # every op of --layers: what a run leaves, not what the repository keeps


def run(options: Namespace) -> tuple[list[Log], bool]:
    """On the CPU: a log for each number of threads, and True. ValueError, before anything is measured, on names that
    match nothing and on workloads that a switch cannot run."""
    said, what = workloads(), "tails" if options.tails else "layers" if options.layers else "suite"
    length = "quick" if options.quick else "summary" if options.summary else "full"
    names = said.sets.get(what, {"quick": said.sets["quick"], "summary": said.summary.values()}.get(length))
    chosen = said.select(options.only, None if options.only and what in KINDS else names)
    if unfit := [w.name for w in chosen if w.kind not in KINDS.get(what, (w.kind,))]:
        raise ValueError(f"--{what}: {unfit[0]} is none of the kinds {', '.join(KINDS[what])}")
    logs, console = [], Console(options.json)
    every = [Settings("cpu", count, options.isa) for count in options.threads or THREADS[what]]
    entrants = candidates(every[0], options.candidates or LEFT_OUT.get(length, []))
    load = os.getloadavg()[0]  # before anything of ours has run
    if load / machine.usable_cores() > machine.NOISY:
        console.say(f"warning: load average {load:.1f}: this machine is not quiet", err=True)
    for settings in every:
        settings.apply()
        ceiling = roofline.measure(settings.threads, settings.isa)
        log = opened(options, settings, load, ceiling=ceiling)
        logs.append(log)
        console.say(f"{settings.threads} threads; the machine's limits: {ceiling or 'not measured, no C compiler'}")
        if what == "suite":
            how = {"quick": QUICK, "summary": FRONT_PAGE, "full": FULL}[length]
            how = replace(how, budget=options.budget) if options.budget else how
            list(measured(((w, entrants) for w in chosen), settings, how, log, console))
        for workload in chosen if what != "suite" else ():
            console.say(f"{workload.name}, {settings.threads} threads", err=True)
            console.show(log.append(_sheet(what, workload, settings, ceiling, options.calls, log)), log.run)
    return logs, True


def measured(
    cases: Iterable[tuple[Workload, Sequence[Candidate]]], settings: Settings, how: Repetitions, log: Log,
    console: Console, limit: Callable[[], float] = lambda: case.HOURS,
) -> Iterator[Case]:  # fmt: skip
    """Case by case, logged and shown: the suite of any clock. limit: seconds that are left; without them a case is
    not begun."""
    for workload, entrants in cases:
        if limit() < how.budget:
            console.say(f"no time left for {workload.name} beside {', '.join(one.name for one in entrants)}")
            continue
        console.say(workload.name, err=True)
        record = log.append(case.measure(workload, entrants, settings, how, limit))
        console.show(record, log.run)
        yield record


def opened(options: Namespace, settings: Settings, load: float, **fields: Any) -> Log:
    """A log whose run is this command."""
    return Log(
        options.results or RESULTS, command=" ".join(["python -m bench", *sys.argv[1:]]), clock=settings.clock,
        threads=settings.threads, isa=settings.isa, quick=options.quick, load=load, **fields,
    )  # fmt: skip


def _sheet(
    what: str, workload: Workload, settings: Settings, ceiling: dict[str, Any], calls: int | None, log: Log
) -> Sheet:
    """Tails or layers of one workload, from a process of its own."""
    with Remote(import_module, f"bench.{what}") as there:
        if what == "tails":
            return there.call("tail", workload, settings, *([calls] if calls else []))
        sheet, ops = there.call("layers", workload, settings, ceiling)
    OPS.mkdir(parents=True, exist_ok=True)
    path = OPS / f"{log.run.run}-{workload.name.replace('/', '-')}.jsonl"
    path.write_text("".join(f"{json.dumps(op)}\n" for op in ops))
    return sheet
