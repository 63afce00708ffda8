"""Tails of a control loop: how late the latest of 10,000 actions is."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from diffuser_fast.control.executor import Executor
from diffuser_fast.planner import Planner

from . import machine
from .peers import Settings
from .problem import checkpoint
from .records import Sheet
from .stats import percentile
from .workloads import Workload, workloads

WARM_UP = 20
CALLS = 10_000
COLUMNS = ["engine", "calls", "p50 ms", "p99 ms", "p99.9 ms", "slowest ms"]
FINISHES = ("full", "strided", "restrided", "finishing")


def tail(workload: Workload, settings: Settings, calls: int = CALLS) -> Sheet:
    """``Planner.act`` called again and again, each time from another observation.

    Nothing is taken out: Python's garbage collector, the scheduler and the neighbours are in it, as on a robot.
    """
    planner = made(workload, settings.threads)
    with machine.Quiet() as quiet:
        ms = acted(planner, calls)
    return Sheet("tails", workload.name, COLUMNS, [quantiles(planner.backend, ms)], quiet.others, quiet.warning)


def made(workload: Workload, threads: int) -> Planner:
    """The planner of a workload."""
    guide = "auto" if workload.kind == "guided" else None
    return Planner(checkpoint(workload.network), batch_size=workload.batch, guide=guide, threads=threads)


def situations(planner: Planner, n: int) -> np.ndarray:
    """Observations ``[n, O]``, all different."""
    numbers = np.random.default_rng(0).normal(0, 0.5, (n, planner.checkpoint.observation_dim))
    return planner.checkpoint.normalizers.observations.unnormalize(numbers)


def acted(planner: Planner, calls: int) -> np.ndarray:
    """Milliseconds of each call of ``act``."""
    taken = np.empty(calls + WARM_UP)
    for n, obs in enumerate(situations(planner, calls + WARM_UP)):
        began = time.perf_counter()
        planner.act(obs)
        taken[n] = time.perf_counter() - began
    return taken[WARM_UP:] * 1e3


def quantiles(backend: str, ms: np.ndarray) -> list[str | int | float | None]:
    """A row of the sheet."""
    return [backend, len(ms), *(percentile([ms], q) for q in (50, 99, 99.9)), float(ms.max())]


# ---- the command: python -m bench.tails ----


def deadlines(planner: Planner, observations: np.ndarray, budgets: list[float], period: float) -> Sheet:
    """Plans with budgets of some per cent of what a whole plan takes: how many were late, how late, of which kind."""
    planner.calibrate(period_ms=period * 1e3)
    whole = float(np.median([planner.plan({0: obs}).latency_ms for obs in observations[:WARM_UP]]))
    rows = []
    for percent in budgets:
        budget = whole * percent / 100
        found = []
        for obs in observations:
            time.sleep(period)
            found.append(planner.plan({0: obs}, budget_ms=budget))
        ms = np.array([plans.latency_ms for plans in found])
        kinds = Counter(plans.finish for plans in found)
        late = float(np.mean([not plans.deadline_met for plans in found]))
        steps = float(np.mean([plans.denoising_steps for plans in found]))
        rows.append([percent, budget, len(ms), steps, 100 * late, max(float(ms.max()) - budget, 0.0)]
                    + [kinds.get(kind, 0) for kind in FINISHES])  # fmt: skip
    columns = ["budget, %", "budget ms", "plans", "rows", "late, %", "latest, ms over", *FINISHES]
    return Sheet("deadlines", f"a whole plan takes {whole:.2f} ms", columns, rows)


def jitter(planner: Planner, observations: np.ndarray, dt: float) -> tuple[Sheet, np.ndarray]:
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
    said = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))
    columns = ["microseconds", "steps", "p50", "p99", "p99.9", "slowest"]
    return Sheet("executor", f"dt {dt * 1e3:g} ms, delay {executor.delay} steps; {said}", columns, rows), taken


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


def main(words: list[str] | None = None) -> None:
    """Tails, deadlines and jitter of one workload, printed, and drawn if asked for."""
    parser = argparse.ArgumentParser(description=main.__doc__, prog="python -m bench.tails")
    parser.add_argument("workload", nargs="?", default="hopper/guided/b1")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="processes that take cores away")
    parser.add_argument("--fifo", type=int, help="SCHED_FIFO at this priority, from before the planner is made")
    parser.add_argument("--budgets", type=float, nargs="+", default=[10, 25, 50, 75, 100, 120], help="per cent")
    parser.add_argument("--budget-calls", type=int, default=300)
    parser.add_argument("--period-ms", type=float, default=5.0, help="of rest before a plan with a budget")
    parser.add_argument("--dt-ms", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=1000, help="of the executor's loop")
    parser.add_argument("--plot", help="a PNG of all latencies: histograms, and misses against budgets")
    options = parser.parse_args(words)
    if options.fifo:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(options.fifo))
    workload = workloads().find(options.workload)
    latencies, missed = {}, {}
    for threads in options.threads:
        planner = made(workload, threads)
        for hogs in options.busy:
            name = f"{threads} thread{'s' * (threads > 1)}, {hogs} busy"
            with busy(hogs):
                ms = acted(planner, options.calls)
                sheets = [Sheet("tails", workload.name, COLUMNS, [quantiles(planner.backend, ms)])]
                seen = situations(planner, max(options.budget_calls, WARM_UP))
                sheets.append(deadlines(planner, seen, options.budgets, options.period_ms * 1e-3))
                sheets.append(jitter(planner, situations(planner, options.steps), options.dt_ms * 1e-3)[0])
            latencies[name] = ms
            missed[name] = [(row[0], row[4]) for row in sheets[1].rows]
            for sheet in sheets:
                print(f"\n{sheet.what}: {name}; {sheet.name}")
                print(*(f"{column:>16}" for column in sheet.columns))
                for row in sheet.rows:
                    print(*(f"{v:>16.3f}" if isinstance(v, float) else f"{v!s:>16}" for v in row), flush=True)
    if options.plot:
        from .tail_plots import draw

        draw(options.plot, workload.name, latencies, missed)


if __name__ == "__main__":
    main()
