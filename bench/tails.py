"""Tails of a control loop: how late the latest of 10,000 actions is, alone and under load, and plans with budgets."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

import numpy as np

from . import machine
from .control_loop import CALLS, WARM_UP, busy, deadlines, in_turns, jitter, loaded, made, situations
from .peers import Settings
from .recording import add_options, recording
from .records import Sheet
from .stats import percentile
from .workloads import Workload, workloads

COLUMNS = ["engine", "calls", "p50 ms", "p99 ms", "p99.9 ms", "slowest ms"]


def tail(workload: Workload, settings: Settings, calls: int = CALLS) -> Sheet:
    """``Planner.act`` called again and again, each time from another observation.

    Nothing is taken out: Python's garbage collector, the scheduler and the neighbours are in it, as on a robot.
    """
    planner = made(workload, settings.threads)
    with machine.Quiet() as quiet:
        ms = in_turns([planner], calls)[0]
    row = [planner.backend, len(ms), *(percentile([ms], q) for q in (50, 99, 99.9)), float(ms.max())]
    return Sheet("tails", workload.name, COLUMNS, [row], quiet.others, quiet.warning)


def main(words: list[str] | None = None) -> None:
    """Tails, deadlines and jitter of one workload under load, printed; recorded and drawn if asked for."""
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
    workload, latencies, missed = workloads().find(options.workload), {}, {}
    with recording("bench.tails", words, max(options.threads), options) as kept:
        planners = {threads: made(workload, threads) for threads in options.threads}
        for hogs in options.busy:
            how = {threads: f"{threads} thread{'s' * (threads > 1)}, {hogs} busy" for threads in planners}
            with busy(hogs):
                if options.calls:
                    sheet, ms = loaded(workload.name, planners, options.calls, hogs)
                    latencies |= dict(zip(how.values(), ms, strict=True))
                    kept(sheet)
                for threads, planner in planners.items():
                    which = f"{workload.name}, {how[threads]}"
                    if options.budgets:
                        seen = situations(planner, max(options.budget_calls, WARM_UP))
                        sheet = deadlines(planner, seen, options.budgets, options.period_ms * 1e-3, which)
                        missed[how[threads]] = sheet.column("budget, %"), sheet.column("late, %")
                        kept(sheet)
                    if options.steps:
                        kept(jitter(planner, situations(planner, options.steps), options.dt_ms * 1e-3, which))
    if options.plot:
        draw(options.plot, workload.name, latencies, missed)


def draw(
    path: str, title: str, latencies: Mapping[str, np.ndarray], missed: Mapping[str, tuple[list[float], list[float]]]
) -> None:
    """A PNG of milliseconds ``[calls]`` by name, and by name of budgets and of late plans, in per cent."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), dpi=120, layout="tight")
    left, right = figure.subplots(1, 2)
    for name, ms in latencies.items():
        ordered = np.sort(ms)
        left.step(ordered, 1 - np.arange(len(ordered)) / len(ordered), where="post", label=name)
    left.set(xscale="log", yscale="log", xlabel="milliseconds", ylabel="share of calls that took longer", title=title)
    for name, budgets_and_late in missed.items():
        right.plot(*budgets_and_late, "o-", label=name)
    right.set(xlabel="budget, % of a whole plan", ylabel="late, %", title="deadlines")
    for axes in (left, right):
        axes.legend(fontsize=7)
    figure.savefig(path)


if __name__ == "__main__":
    main()
