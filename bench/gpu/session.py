"""One run of `make gpu`: checks, constants, rungs, in the time there is; every row is written when it is known."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffuser_fast import backends

from .. import machine
from ..problem import problem
from ..rows import Log
from ..workloads import GpuRung, Workload, ladder
from . import constants, jobs
from .checkout import EngineBuild
from .checks import exactness, total
from .deadline import Deadline, OutOfTime, enforced
from .device import Device
from .model import Machine, plan_stages, plan_us
from .ours import BACKEND, Ours, precisions
from .peers import PEERS
from .rung import FULL, REHEARSAL, Setting, rung
from .screen import Screen
from .tally import Tally

CHECKING = 0.32  # of all the time, at most
PARTS = 6  # the case table in so many processes
REHEARSED = "add 2x3"  # the case that a rehearsal runs


@dataclass(frozen=True)
class Request:
    """minutes: all there are. only: parts of workloads' names. check, measure: which halves are wanted."""

    device: Device
    results: Path
    minutes: float
    only: tuple[str, ...] = ()
    check: bool = True
    measure: bool = True


def session(request: Request) -> tuple[Log, bool]:
    """Do it: the log, and whether everything that was checked is right."""
    deadline, device = Deadline(60 * request.minutes), request.device
    screen, fingerprint = Screen(deadline), device.fingerprint()
    log = _open(request, fingerprint)
    screen.device(fingerprint, machine.versions())
    right = True
    build = None if device.rehearsal else EngineBuild()
    try:
        with enforced(deadline):
            broken: dict[tuple[str, str], str] = {}
            if request.check:
                limit = Deadline(CHECKING * deadline.left())
                right, broken = _checks(request, log, screen, limit, fingerprint["memory_gib"])
            if build is not None and (reason := build.wait(min(60.0, deadline.left() / 8))) is not None:
                screen.say(f"{reason}; its plans were not compared")
            if request.measure:
                model = _constants(device, log, screen, fingerprint)
                right &= _rungs(request, log, screen, Setting(device, deadline, _plan(device), model), broken)
    except OutOfTime:
        screen.say(f"the {request.minutes:g} minutes are over: what was measured so far is kept")
    finally:
        if build is not None:
            build.wait(0.0)
    return log, right


def rungs(request: Request) -> list[tuple[Workload, GpuRung]]:
    """Those that ``only`` leaves, in their order; ValueError if it leaves none."""
    said = ladder()
    chosen = said.gpu_rehearsal if request.device.rehearsal else said.gpu
    found = [one for one in chosen if not request.only or any(part in one.workload for part in request.only)]
    if not found:
        names = ", ".join(dict.fromkeys(one.workload for one in chosen))
        raise ValueError(f"--only: nothing matches {', '.join(request.only)}; there are {names}")
    return [(said.find(one.workload), one) for one in found]


def _checks(
    request: Request, log: Log, screen: Screen, deadline: Deadline, memory_gib: float | None
) -> tuple[bool, dict[tuple[str, str], str]]:
    """Whether all is right, and (workload, precision) -> why, for those of ours that failed to get ready: one illegal
    access would end all measuring in the process that made it."""
    device, broken = request.device, {}
    reason = backends.why_not(BACKEND, problem(rungs(request)[0][0]).loop, device.name)
    if reason is not None:
        screen.say(f"nothing of ours is checked: {reason}")
    plan = list(_planned(request, reason is None))
    at_once = jobs.slots(machine.usable_cores(), memory_gib)
    screen.say(f"{len(plan)} checks and preparations, {at_once} at a time, {deadline.left():.0f} s at most")
    whose = {id(job): tally for job, tally in plan}
    for job, finding in jobs.run([job for job, _ in plan], at_once, deadline.left):
        tally = whose[id(job)]
        if tally is not None:
            if tally.take(finding):
                screen.check(log.append("gpu_check", tally.row(device.rehearsal)))
        elif isinstance(finding, jobs.Ended) and finding.why_not:
            name = (job.options["workload"], job.options["precision"])
            screen.say(f"{' '.join(name)} not prepared: {finding.why_not}")
            if finding.failed:
                broken[name] = finding.why_not
    return not broken and all(tally.passed for tally in whose.values() if tally is not None), broken


def _planned(request: Request, ours: bool) -> Iterator[tuple[jobs.Job, Tally | None]]:
    """Jobs in the order of their worth, each with the tally it counts for (None: it only fills Triton's cache)."""
    where, offered = request.device.name, precisions() if ours else ()

    def tally(check: str, precision: str, parts: int = 1) -> Tally:
        return Tally(check, f"{BACKEND} {precision}", exactness(precision), total(check, precision), parts)

    if request.device.rehearsal:
        # Of ours one small case: interpreted kernels take seconds.
        for precision in offered[:1]:
            options = {"precision": precision, "device": where, "only": REHEARSED}
            yield jobs.Job("conformance", options), tally("conformance", precision)
        return
    yield jobs.Job("float64", {"device": where}), Tally("float64", "reference", "exact", 1)
    warm = dict.fromkeys((w.name, precision) for w, one in rungs(request) for precision in one.precisions)
    for workload, precision in warm:
        if precision in offered:
            yield jobs.Job("warm", {"workload": workload, "precision": precision, "device": where}), None
    for check in ("goldens", "same noise"):
        for precision in offered:
            yield jobs.Job(check, {"precision": precision, "device": where}), tally(check, precision)
    for precision in offered:
        shared = tally("conformance", precision, PARTS)
        for part in range(PARTS):
            options = {"precision": precision, "device": where, "part": part, "parts": PARTS}
            yield jobs.Job("conformance", options), shared


def _constants(device: Device, log: Log, screen: Screen, fingerprint: dict[str, Any]) -> Machine:
    major, minor = map(int, fingerprint["capability"].split("."))
    size = {"kernels": 3, "repeats": 1} if device.rehearsal else {}
    found = [log.append("gpu_constant", row) for row in constants.constants(device, (major, minor), **size)]
    screen.constants(found)
    return constants.machine(found, fingerprint["multiprocessors"])


def _rungs(request: Request, log: Log, screen: Screen, setting: Setting, broken: dict[tuple[str, str], str]) -> bool:
    right, seen = True, set()
    for workload, one in rungs(request):
        if setting.deadline.left() < setting.plan.budget:
            screen.say(f"no time left for {workload.name} beside {', '.join(one.peers)}")
            continue
        if workload.name not in seen:
            seen.add(workload.name)
            _predict(workload, screen, setting.model)
        offered = [precision for precision in precisions() if precision in one.precisions]
        ours = [Ours(precision, broken.get((workload.name, precision))) for precision in offered]
        candidates = [*(PEERS[name] for name in one.peers), *ours]
        rows = [log.append("gpu_timing", fields) for fields in rung(workload, candidates, setting)]
        screen.rung(rows)
        right &= not any(row["ours"] and row["exactness"] == "wrong" for row in rows)
    return right


def _predict(workload: Workload, screen: Screen, model: Machine) -> None:
    loop = problem(workload).loop
    early = Machine(model.node_pdl, model.node_pdl, model.fixed, model.step, model.multiprocessors)
    plain, dependent = (plan_us(loop, workload.batch, one) * 1e-3 for one in (model, early))
    screen.say(
        f"{workload.name}: {len(plan_stages(loop))} kernels; the model says {plain:.1f} ms, "
        f"{dependent:.1f} with dependent launch"
    )


def _plan(device: Device) -> Any:
    return REHEARSAL if device.rehearsal else FULL


def _open(request: Request, fingerprint: dict[str, Any]) -> Log:
    head, dirty = machine.commit()
    record = {
        "command": " ".join(["python -m bench.gpu", *sys.argv[1:]]), "commit": head, "dirty": dirty,
        "machine": {**machine.fingerprint(), "gpu": fingerprint}, "versions": machine.versions(), "ceiling": {},
        "threads": torch.get_num_threads(), "isa": None, "quick": request.device.rehearsal, "load": machine.load(),
    }  # fmt: skip
    return Log(record, request.results, fingerprint["name"])
