"""A control loop of a workload's planner: how long its actions take, alone and under load; plans with budgets; and the
jitter of a loop on an executor."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from diffuser_fast.control.executor import Executor
from diffuser_fast.planner import Planner

from . import machine
from .problem import checkpoint
from .records import Sheet
from .stats import percentile
from .workloads import Workload

WARM_UP = 20
CALLS = 10_000
FINISHES = ("full", "strided", "restrided", "finishing")


def made(workload: Workload, threads: int) -> Planner:
    """The planner of a workload."""
    guide = "auto" if workload.kind == "guided" else None
    return Planner(checkpoint(workload.network), batch_size=workload.batch, guide=guide, threads=threads)


def situations(planner: Planner, n: int) -> np.ndarray:
    """Observations ``[n, O]``, all different."""
    numbers = np.random.default_rng(0).normal(0, 0.5, (n, planner.checkpoint.observation_dim))
    return planner.checkpoint.normalizers.observations.unnormalize(numbers)


def in_turns(planners: list[Planner], calls: int) -> np.ndarray:
    """Milliseconds of each call of ``act``, of planners that take turns: ``[planners, calls]``."""
    seen = situations(planners[0], min(calls, CALLS) + WARM_UP)
    taken = np.empty((len(planners), calls + WARM_UP))
    for n in range(calls + WARM_UP):
        for k, planner in enumerate(planners):
            began = time.perf_counter()
            planner.act(seen[n % len(seen)])
            taken[k, n] = time.perf_counter() - began
    return taken[:, WARM_UP:] * 1e3


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that want a core each, meanwhile."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def loaded(name: str, planners: Mapping[int, Planner], calls: int, hogs: int) -> tuple[Sheet, np.ndarray]:
    """Planners take turns, so that all see the same machine: their tails, and the slowest over that of the first."""
    with machine.Quiet() as quiet:
        ms = in_turns(list(planners.values()), calls)
    rows = []
    for k, threads in enumerate(planners):
        quantiles = [percentile([ms[k]], q) for q in (50, 99, 99.9, 99.99)]
        rows.append([threads, calls, *quantiles, float(ms[k].max()), float(ms[k].max() / ms[0].max())])
    columns = ["threads", "calls", "p50 ms", "p99 ms", "p99.9 ms", "p99.99 ms", "slowest ms", "of the first's"]
    warning = quiet.warning if not hogs else None
    return Sheet("load", f"{name}, {hogs} busy processes", columns, rows, quiet.others, warning), ms


def deadlines(planner: Planner, observations: np.ndarray, budgets: list[float], period: float, name: str) -> Sheet:
    """Plans with budgets of some per cent of what a whole plan takes. Late: after the budget.

    The contract is the budget and one denoising step where the thread was not descheduled: the "undisturbed" plans are
    those during which the system did not take the core away from it. The planner says before which budgets it cannot
    keep, those below the least: no late plan there counts against it.
    """
    cost = planner.calibrate(period_ms=period * 1e3)
    whole = float(np.median([planner.plan({0: obs}).latency_ms for obs in observations[:WARM_UP]]))
    rows = []
    for percent in budgets:
        budget = whole * percent / 100
        found, taken = [], []
        for obs in observations:
            time.sleep(period)
            before = _taken()
            found.append(planner.plan({0: obs}, budget_ms=budget))
            taken.append(_taken() - before)
        over, kinds = np.array([plans.latency_ms for plans in found]) - budget, Counter(plans.finish for plans in found)
        steps, whole_time = np.mean([plans.denoising_steps for plans in found]), over[np.array(taken) == 0]
        rows.append({
            "budget, %": percent, "budget ms": budget, "plans": len(over), "rows": float(steps),
            "late, %": _percent(over > 0), "latest, ms over": max(float(over.max()), 0.0),
            "undisturbed": len(whole_time), "late of them, %": _percent(whole_time > 0),
            "by > 1 step, %": _percent(whole_time > cost.step_ms), **{kind: kinds[kind] for kind in FINISHES},
            "can be kept": "no" if budget < cost.least_ms else "yes",
        })  # fmt: skip
    told = f"a plan {whole:.2f} ms, the least {cost.least_ms:.2f}, a step {cost.step_ms:.2f}"
    return Sheet("deadlines", f"{name}; {told}", list(rows[0]), [list(row.values()) for row in rows])


def _percent(which: np.ndarray) -> float | None:
    return 100 * float(np.mean(which)) if len(which) else None


def _taken() -> int:
    """How often the core has been taken away from this thread."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def jitter(planner: Planner, observations: np.ndarray, dt: float, name: str) -> Sheet:
    """A loop at its rate on an Executor: how late it wakes, how long a step takes, where its actions come from."""
    woken, taken = np.empty(len(observations)), np.empty(len(observations))
    with Executor(planner, dt) as executor:
        executor.start(observations[0])
        due = time.monotonic()
        for n, obs in enumerate(observations):
            due += dt
            time.sleep(max(due - time.monotonic(), 0))
            began = time.monotonic()
            executor.step(obs)
            woken[n], taken[n] = began - due, time.monotonic() - began
        counts = executor.counts
    rows = [
        [what, len(us), *(percentile([us], q) for q in (50, 99, 99.9)), float(us.max())]
        for what, us in (("wakes late", woken * 1e6), ("a step takes", taken * 1e6))
    ]
    said = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
    columns = ["microseconds", "steps", "p50", "p99", "p99.9", "slowest"]
    told = f"dt {dt * 1e3:g} ms, delay {executor.delay} steps; {said}"
    return Sheet("executor", f"{name}; {told}", columns, rows)
