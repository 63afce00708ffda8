"""A rung: a workload through our precisions and some peers, judged against float64, then measured in turns."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..machine import nameless
from ..problem import Problem, problem
from ..rounds import Plan, interleave
from ..stats import percentile, pooled, ratio_of_medians
from ..truth import Judgement, Truth, truth
from ..workloads import Workload
from .deadline import Deadline
from .device import Device, Turn
from .endtoend import Ready, observations
from .model import Machine, plan_us
from .peers import ORIGINAL, fresh

FULL = Plan(budget=14.0, fewest=4, fewest_slow=2, burst=0.25, settle=0.002, warm_up=0.3)
REHEARSAL = Plan(budget=0.1, fewest=1, fewest_slow=1, burst=0.0, settle=0.0, warm_up=0.0)
KINDS = ("device", "host")


class Candidate(Protocol):
    """seconds: about how long ``ready`` takes, so that it is not begun when there is no time for it."""

    name: str
    ours: bool
    seconds: float

    def why_not(self, problem: Problem, device: Device) -> str | None:
        """Why it takes no part in this workload here, in a sentence, or None."""
        ...

    def ready(self, problem: Problem, device: Device) -> Ready:
        """Everything that a user would do once."""
        ...


@dataclass(frozen=True)
class Setting:
    """What all rungs of a run share. model: the constants behind ``predicted_ms``."""

    device: Device
    deadline: Deadline
    plan: Plan
    model: Machine


def rung(workload: Workload, candidates: Sequence[Candidate], setting: Setting) -> list[dict[str, Any]]:
    """The fields of one workload's rows, a row for each candidate."""
    fresh()
    gc.collect()
    given, device = problem(workload), setting.device
    right = _truth(given, device)
    entries = [_prepare(given, candidate, right, setting) for candidate in candidates]
    ready = {entry["candidate"]: entry.pop("ready") for entry in entries if entry["why_not"] is None}
    calls = {_key(name, kind): turn for name in ready for kind, turn in _turns(given, ready[name], device).items()}
    gc.disable()
    try:
        taken = interleave(calls, setting.plan, lap=device.lap) if calls else {}
    finally:
        gc.enable()
    rounds = {name: {kind: taken[_key(name, kind)] for kind in KINDS} for name in ready}
    host = {name: found["host"] for name, found in rounds.items()}
    peers = [entry["candidate"] for entry in entries if not entry["ours"] and entry["candidate"] in host]
    best = min(peers, key=lambda name: percentile(host[name], 50), default=None)
    predicted = plan_us(given.loop, workload.batch, setting.model) * 1e-3
    return [
        {
            **_of(given), **entry, **_timing(given, rounds.get(entry["candidate"])),
            **_speedup(host, entry["candidate"], best), "predicted_ms": predicted if entry["ours"] else None,
            "rehearsal": device.rehearsal,
        }
        for entry in entries
    ]  # fmt: skip


def _truth(given: Problem, device: Device) -> Truth:
    """From the reference on the device itself, in IEEE arithmetic: a plan of 1024 takes minutes in float64 on a CPU.
    That the device's float64 is the CPU's is a check of its own (checks.py)."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return truth(given, device.name)


def _prepare(given: Problem, candidate: Candidate, right: Truth, setting: Setting) -> dict[str, Any]:
    """A candidate made ready and judged. What fails says so in ``why_not`` and is not timed."""
    entry: dict[str, Any] = {
        "candidate": candidate.name, "ours": candidate.ours, "why_not": candidate.why_not(given, setting.device),
        "note": "", "exactness": None, "deviation": None, "over": None, "ready_s": None,
    }  # fmt: skip
    if entry["why_not"] is not None:
        return entry
    left = setting.deadline.left() - setting.plan.budget
    if left < candidate.seconds:
        return {**entry, "why_not": f"no time left: it takes about {candidate.seconds:.0f} s, there are {left:.0f}"}
    began = time.perf_counter()
    try:
        ready = candidate.ready(given, setting.device)
        entry["ready_s"] = time.perf_counter() - began
        verdict: Judgement = right.judge(ready.check())
        ready.plan(observations(given, 1)[0])
    except Exception as error:  # one candidate's failure is a row, not the end of the ladder
        return {**entry, "why_not": failure(error)}
    entry |= {
        "note": ready.note, "exactness": verdict.exactness, "deviation": verdict.deviation, "over": verdict.over,
    }  # fmt: skip
    if verdict.exactness == "wrong":
        return {**entry, "why_not": f"its answer is wrong by {verdict.deviation:.1%}"}
    return {**entry, "ready": ready}


def failure(error: Exception) -> str:
    """An error as a short sentence without this machine's folders."""
    return nameless(f"{type(error).__name__}: {(str(error).strip().splitlines() or ['?'])[0][:300]}")


def _turns(given: Problem, ready: Ready, device: Device) -> dict[str, Turn]:
    seen = itertools.cycle(observations(given))
    return {
        "device": Turn(ready.run, "device", device),
        "host": Turn(lambda: ready.plan(next(seen)), "host", device),
    }


def _key(name: str, kind: str) -> str:
    return f"{name}: {kind}"


def _of(given: Problem) -> dict[str, Any]:
    workload = given.workload
    return {
        "workload": workload.name, "network": workload.network.name, "horizon": workload.network.horizon,
        "kind": workload.kind, "batch": workload.batch, "flops": given.flops,
    }  # fmt: skip


def _timing(given: Problem, rounds: dict[str, list[list[float]]] | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"tflops": None}
    for kind in KINDS:
        found = None if rounds is None else rounds[kind]
        fields[f"{kind}_calls"] = 0 if found is None else len(pooled(found))
        for q in (50, 99):
            fields[f"{kind}_p{q}_ms"] = None if found is None else percentile(found, q)
    if fields["device_p50_ms"]:
        fields["tflops"] = given.flops / fields["device_p50_ms"] * 1e-9
    return fields


def _speedup(host: dict[str, list[list[float]]], name: str, best: str | None) -> dict[str, Any]:
    """How many times faster than the best peer, and than the original, end to end; below 1 it is slower."""
    fields: dict[str, Any] = dict.fromkeys(("speedup", "speedup_low", "speedup_high", "over_original"))
    if name in host and best is not None:
        ratio = ratio_of_medians(host[best], host[name])
        fields |= {"speedup": ratio.value, "speedup_low": ratio.low, "speedup_high": ratio.high}
    if name in host and ORIGINAL in host:
        fields["over_original"] = ratio_of_medians(host[ORIGINAL], host[name]).value
    return {"best_peer": best, **fields}
