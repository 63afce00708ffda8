"""A rung of the ladder: a workload through every candidate, checked, then measured in turns."""

from __future__ import annotations

import gc
import time
from typing import Any

from . import machine, roofline
from .peers import Candidate, Ready, Settings
from .problem import Problem, problem
from .rounds import Plan, interleave
from .stats import percentile, pooled, ratio_of_medians
from .truth import Judgement, truth
from .workloads import Workload

QUICK = Plan(budget=3.0, fewest=4, fewest_slow=2, burst=0.05, settle=0.02, warm_up=0.2)
FULL = Plan()


def rung(
    workload: Workload,
    candidates: list[Candidate],
    settings: Settings,
    plan: Plan,
    ceiling: roofline.Ceiling,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The fields of one workload's rows, a row for each candidate."""
    gc.collect()  # engines and sessions of the workload before must not weigh on this one
    given = problem(workload, seed)
    entries = [_prepare(given, candidate, settings) for candidate in candidates]
    timed = {entry["candidate"]: entry.pop("ready") for entry in entries if entry["why_not"] is None}
    before = machine.Busy.now()
    gc.disable()  # one candidate's garbage must not be collected in another's turn
    try:
        taken = interleave({name: ready.run for name, ready in timed.items()}, plan) if timed else {}
    finally:
        gc.enable()
    disturbance = machine.others(before, machine.Busy.now())
    peers = {e["candidate"]: taken[e["candidate"]] for e in entries if not e["ours"] and e["candidate"] in taken}
    best = min(peers, key=lambda name: percentile(peers[name], 50), default=None)
    said = {"others": disturbance, "warning": warning(disturbance)}
    rows = []
    for entry in entries:
        rounds = taken.get(entry["candidate"])
        timing = {**_timing(given, rounds, ceiling), **_speedup(rounds, best, peers.get(best))}
        rows.append({**_of(given), **entry, **timing, **said})
    return rows


def warning(disturbance: float | None) -> str | None:
    """What a row says when the machine was not quiet."""
    if disturbance is not None and disturbance > machine.NOISY:
        return f"others used {disturbance:.0%} of every core meanwhile: do not trust these times"
    return None


def _prepare(given: Problem, candidate: Candidate, settings: Settings) -> dict[str, Any]:
    """A candidate made ready, warmed by one call and judged. What fails says so in ``why_not`` and is not timed."""
    entry: dict[str, Any] = {
        "candidate": candidate.name, "ours": candidate.ours, "why_not": candidate.why_not(given, settings), "note": "",
        "exactness": None, "deviation": None, "over": None, "ready_s": None, "rss_mib": None, "rss_growth_mib": None,
    }  # fmt: skip
    if entry["why_not"] is not None:
        return entry
    resident, began = machine.rss_mib(), time.perf_counter()
    try:
        ready: Ready = candidate.ready(given, settings)
        entry["ready_s"] = time.perf_counter() - began
        verdict: Judgement = truth(given).judge(ready.answer(ready.run()))
    except Exception as error:  # one peer's failure is a row, not the end of the ladder
        return {**entry, "why_not": f"{type(error).__name__}: {(str(error).splitlines() or ['?'])[0][:300]}"}
    after = machine.rss_mib()
    entry |= {
        "note": ready.note, "exactness": verdict.exactness, "deviation": verdict.deviation, "over": verdict.over,
        "rss_mib": after, "rss_growth_mib": after - resident if after is not None else None,
    }  # fmt: skip
    if verdict.exactness == "wrong":
        return {**entry, "why_not": f"its answer is wrong by {verdict.deviation:.1%}"}
    return {**entry, "ready": ready}


def _of(given: Problem) -> dict[str, Any]:
    workload = given.workload
    return {
        "workload": workload.name, "network": workload.network.name, "horizon": workload.network.horizon,
        "kind": workload.kind, "batch": workload.batch, "flops": given.flops, "weight_bytes": given.weight_bytes,
    }  # fmt: skip


def _timing(given: Problem, rounds: list[list[float]] | None, ceiling: roofline.Ceiling) -> dict[str, Any]:
    if rounds is None:
        names = (
            "p50_ms",
            "p90_ms",
            "p99_ms",
            "min_ms",
            "gflops",
            "fma_percent",
            "weights_gbs",
            "bandwidth_percent",
        )
        return {"calls": 0, "rounds": 0, **dict.fromkeys(names)}
    p50 = percentile(rounds, 50)
    gflops, gbs = given.flops / p50 * 1e-6, given.weight_bytes / p50 * 1e-6
    return {
        "calls": len(pooled(rounds)), "rounds": len(rounds), "min_ms": float(pooled(rounds).min()),
        "p50_ms": p50, "p90_ms": percentile(rounds, 90), "p99_ms": percentile(rounds, 99),
        "gflops": gflops, "fma_percent": 100 * gflops / ceiling.gflops,
        "weights_gbs": gbs, "bandwidth_percent": 100 * gbs / ceiling.weights_gbs,
    }  # fmt: skip


def _speedup(rounds: list[list[float]] | None, best: str | None, of_best: list[list[float]] | None) -> dict[str, Any]:
    """How many times faster than the best peer; below 1 it is slower. The best peer itself has 1."""
    if rounds is None or of_best is None:
        return {"best_peer": best, "speedup": None, "speedup_low": None, "speedup_high": None}
    ratio = ratio_of_medians(of_best, rounds)
    return {"best_peer": best, "speedup": ratio.value, "speedup_low": ratio.low, "speedup_high": ratio.high}
