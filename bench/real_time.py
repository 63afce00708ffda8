"""What ``python -m bench.tails`` measures: planners that take turns under load, late plans by budget, an executor."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from diffuser_fast.control.executor import Executor
from diffuser_fast.planner import Planner

from . import machine
from .control_loop import WARM_UP, in_turns, situations
from .records import Sheet
from .stats import percentile

FINISHES = ("full", "strided", "restrided", "finishing")


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


def sheets(
    name: str, planners: Mapping[int, Planner], hogs: int, options: Namespace, latencies: dict[str, np.ndarray],
    missed: dict[str, list[tuple[float, float]]],
) -> Iterator[Sheet]:  # fmt: skip
    """Of planners by their number of threads, one sheet after another. Latencies and misses are kept for a picture."""
    if options.calls:
        sheet, ms = loaded(name, planners, options.calls, hogs)
        latencies |= {_named(threads, hogs): ms[k] for k, threads in enumerate(planners)}
        yield sheet
    for threads, planner in planners.items():
        which = f"{name}, {_named(threads, hogs)}"
        if options.budgets:
            seen = situations(planner, max(options.budget_calls, WARM_UP))
            sheet = deadlines(planner, seen, options.budgets, options.period_ms * 1e-3, which)
            missed[_named(threads, hogs)] = [(row[0], row[4]) for row in sheet.rows]
            yield sheet
        if options.steps:
            yield jitter(planner, situations(planner, options.steps), options.dt_ms * 1e-3, which)


def _named(threads: int, hogs: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}, {hogs} busy"


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
        over = np.array([plans.latency_ms for plans in found]) - budget
        whole_time = over[np.array(taken) == 0]
        kinds = Counter(plans.finish for plans in found)
        steps = float(np.mean([plans.denoising_steps for plans in found]))
        rows.append(
            [percent, budget, len(over), steps, 100 * float(np.mean(over > 0)), max(float(over.max()), 0.0),
             len(whole_time), 100 * float(np.mean(whole_time > 0)) if len(whole_time) else None,
             100 * float(np.mean(whole_time > cost.step_ms)) if len(whole_time) else None]
            + [kinds.get(kind, 0) for kind in FINISHES] + ["no" if budget < cost.least_ms else "yes"]
        )  # fmt: skip
    columns = [
        "budget, %", "budget ms", "plans", "rows", "late, %", "latest, ms over", "undisturbed", "late of them, %",
        "by > 1 step, %", *FINISHES, "can be kept"
    ]  # fmt: skip
    told = f"a plan {whole:.2f} ms, the least {cost.least_ms:.2f}, a step {cost.step_ms:.2f}"
    return Sheet("deadlines", f"{name}; {told}", columns, rows)


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
