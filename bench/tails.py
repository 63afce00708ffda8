"""Tails of a control loop: how late the latest of 10,000 actions is."""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from diffuser_fast.planner import Planner

from . import machine
from .peers import Settings
from .problem import checkpoint
from .recording import add_options, recording
from .records import Sheet
from .stats import percentile
from .workloads import Workload, workloads

WARM_UP = 20
CALLS = 10_000
COLUMNS = ["engine", "calls", "p50 ms", "p99 ms", "p99.9 ms", "slowest ms"]


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
    return in_turns([planner], calls)[0]


def in_turns(planners: list[Planner], calls: int) -> np.ndarray:
    """The same of several planners that take turns: ``[planners, calls]``."""
    seen = situations(planners[0], min(calls, CALLS) + WARM_UP)
    taken = np.empty((len(planners), calls + WARM_UP))
    for n in range(calls + WARM_UP):
        for k, planner in enumerate(planners):
            began = time.perf_counter()
            planner.act(seen[n % len(seen)])
            taken[k, n] = time.perf_counter() - began
    return taken[:, WARM_UP:] * 1e3


def quantiles(backend: str, ms: np.ndarray) -> list[str | int | float | None]:
    """A row of the sheet."""
    return [backend, len(ms), *(percentile([ms], q) for q in (50, 99, 99.9)), float(ms.max())]


def main(words: list[str] | None = None) -> None:
    """Tails, deadlines and jitter of one workload under load, printed; recorded and drawn if asked for."""
    from . import real_time

    parser = argparse.ArgumentParser(description=main.__doc__, prog="python -m bench.tails")
    parser.add_argument("workload", nargs="?", default="hopper/guided/b1")
    parser.add_argument("--calls", type=int, default=CALLS, help="of each number of threads, in turns; 0: none")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="processes that take cores away")
    parser.add_argument("--fifo", type=int, help="SCHED_FIFO at this priority, from before the planners are made")
    parser.add_argument("--budgets", type=float, nargs="*", default=[10, 20, 40, 60, 80, 100, 120], help="per cent")
    parser.add_argument("--budget-calls", type=int, default=300)
    parser.add_argument("--period-ms", type=float, default=5.0, help="of rest before a plan with a budget")
    parser.add_argument("--dt-ms", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=1000, help="of the executor's loop; 0: none")
    parser.add_argument("--plot", help="a PNG of all latencies: histograms, and misses against budgets")
    add_options(parser)
    options = parser.parse_args(words)
    if options.fifo:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(options.fifo))
    workload = workloads().find(options.workload)
    latencies, missed = {}, {}
    with recording("tails", words, max(options.threads), options) as kept:
        planners = {threads: made(workload, threads) for threads in options.threads}
        for hogs in options.busy:
            with real_time.busy(hogs):
                for sheet in real_time.sheets(workload.name, planners, hogs, options, latencies, missed):
                    kept(sheet)
    if options.plot:
        from .tail_plots import draw

        draw(options.plot, workload.name, latencies, missed)


if __name__ == "__main__":
    main()
