"""``python -m evaluation.pruning``: whether candidates should be dropped by value on the way, not begun with fewer.

After some denoising steps the plans with the largest values go on alone. What that costs is the value of the best plan
in the end, in standard deviations of the plans of a call; what it saves are steps of trajectories, which is what a call
of many plans takes its time for. Both beside what it must beat: fewer candidates from the beginning. The networks of
workloads have random weights: ``--checkpoint`` judges one that has learnt something.
"""

from __future__ import annotations

import argparse

import numpy as np

from bench.control_loop import made, situations
from bench.recording import add_options, recording
from bench.records import Sheet
from bench.workloads import workloads
from diffuser_fast import load
from diffuser_fast.backends.engine import Schedule, Seeded
from diffuser_fast.core.conditions import parse_conditions
from diffuser_fast.planner import Planner

COLUMNS = ["steps, % of all", "value lost, sd", "standard error", "rank correlation"]
PARTS = (0.25, 0.5, 0.75)  # of the denoising steps, before some are dropped
KEPT = (4, 16)  # one in so many


def measured(planner: Planner, count: int) -> list[list]:
    """Rows of the sheet, over ``count`` situations; the noise of a plan does not depend on what is beside it."""
    menu, batch, checkpoint = planner.budget.menu, planner.batch_size, planner.checkpoint
    engine, rows = planner.budget.engine(batch, planner.horizon), np.arange(menu.own, dtype=np.int32)
    lost: dict[tuple[str, float], list[float]] = {}
    alike: dict[tuple[str, float], list[float]] = {}

    def run(obs: np.ndarray, number: int, steps: int) -> np.ndarray:
        inpainting, _ = parse_conditions(
            {0: obs}, planner.horizon, checkpoint.normalizers, at=checkpoint.columns[1].start,
            depth=checkpoint.unet.spec.transition_dim,
        )  # fmt: skip
        return engine(inpainting, Seeded(0, number), schedule=Schedule(rows[:steps])).values

    for number, obs in enumerate(situations(planner, count)):
        values = run(obs, number, len(rows))

        def tell(name: str, share: float, left: np.ndarray, values: np.ndarray = values) -> None:
            lost.setdefault((name, share), []).append(float((values.max() - left.max()) / values.std()))

        for part in (2, 3, 4, 8):
            tell(f"{batch // part} from the beginning", 1 / part, values[: batch // part])
        for steps in sorted({max(round(part * len(rows)), 1) for part in PARTS}):
            then = run(obs, number, steps)
            best, order = np.argsort(-then), [np.argsort(np.argsort(v)) for v in (then, values)]
            for one in KEPT:
                share = (steps + (len(rows) - steps) / one) / len(rows)
                name = f"{batch // one} of them after {steps} steps"
                tell(name, share, values[best[: batch // one]])
                alike.setdefault((name, share), []).append(float(np.corrcoef(*order)[0, 1]))
    table = []
    for (name, share), found in sorted(lost.items(), key=lambda item: -item[0][1]):
        rank = float(np.mean(alike[name, share])) if (name, share) in alike else None
        error = float(np.std(found, ddof=1) / len(found) ** 0.5) if len(found) > 1 else None
        table.append([name, 100 * share, float(np.mean(found)), error, rank])
    return table


def main(words: list[str] | None = None) -> None:
    """Print the table, and append it to bench/results if asked for."""
    parser = argparse.ArgumentParser(description=main.__doc__, prog="python -m evaluation.pruning")
    parser.add_argument("workload", nargs="?", default="hopper/guided/b64")
    parser.add_argument("--checkpoint", help="a guided planner of yours, instead of the workload's random weights")
    parser.add_argument("--batch", type=int, default=64, help="candidates, of --checkpoint")
    parser.add_argument("--situations", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    add_options(parser)
    options = parser.parse_args(words)
    if options.checkpoint:
        planner = Planner(load(options.checkpoint), "cpu", batch_size=options.batch, threads=options.threads)
    else:
        planner = made(workloads().find(options.workload), options.threads)
    if planner.loop.guide is None or planner.batch_size < 2 * max(KEPT):
        parser.error(f"a guided planner of at least {2 * max(KEPT)} candidates is wanted")
    which = "a checkpoint" if options.checkpoint else options.workload
    name = f"{which}, {options.situations} situations"
    with recording("evaluation.pruning", words, options.threads, options) as kept:
        kept(Sheet("pruning", name, ["candidates", *COLUMNS], measured(planner, options.situations)))


if __name__ == "__main__":
    main()
