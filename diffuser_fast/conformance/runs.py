"""The case table run on a target: a verdict for each case, for tests, bench and ``diffuser-fast doctor --check``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.loop import Result
from .loops import LoopCase, loop_cases, single_step
from .ops import OpCase, op_cases
from .targets import EXACT, REFERENCE, Target, targets
from .yardstick import Verdict, judge

SEEDS = (0, 1, 2)


class CaseResult(NamedTuple):
    """One verdict: on which case, on what of it ("output 0", "x", "values", "denoising step 3"), by which target."""

    case: str
    what: str
    target: Target
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.case}: {self.what} on {self.target}: {self.verdict}"


def run_ops(
    target: Target, cases: Iterable[OpCase] | None = None, seeds: Iterable[int] = SEEDS
) -> Iterator[CaseResult]:
    """Every output of every op case, judged."""
    for case in op_cases() if cases is None else cases:
        seeded = [_drawn(case, seed) for seed in seeds]
        found = [target.evaluate(one) for one in seeded]
        own, exact = ([_evaluated(t, one) for one in seeded] for t in (REFERENCE, EXACT))
        for n in range(len(case.program.outputs)):
            parts = ([outputs[n] for outputs in group] for group in (found, own, exact))
            yield CaseResult(case.name, f"output {n}", target, judge(*parts, exactness=target.exactness))


def run_loops(
    target: Target, cases: Iterable[LoopCase] | None = None, seeds: Iterable[int] = SEEDS
) -> Iterator[CaseResult]:
    """Every loop case from noise to plan: x and, where there is a guide, values."""
    for case in loop_cases() if cases is None else cases:
        engine, seeded = target.ready(case.loop, case.batch), [case.seeded(seed) for seed in seeds]
        found = [one.plan(engine) for one in seeded]
        own, exact = ([_planned(t, one) for one in seeded] for t in (REFERENCE, EXACT))
        for field in ("x", "values") if case.loop.guide else ("x",):
            parts = ([getattr(result, field) for result in group] for group in (found, own, exact))
            yield CaseResult(case.name, field, target, judge(*parts, exactness=target.exactness))


def run_steps(
    target: Target, cases: Iterable[LoopCase] | None = None, seeds: Iterable[int] = SEEDS[:2]
) -> Iterator[CaseResult]:
    """Every denoising step of every loop case by itself, from the x that the float32 reference had (teacher-forced)."""
    for case in loop_cases() if cases is None else cases:
        seeded = tuple(case.seeded(seed) for seed in seeds)
        for k in range(case.loop.rows):
            found, own, exact = _after_step(target, k, seeded), *(_judged_by(t, k, seeded) for t in (REFERENCE, EXACT))
            yield CaseResult(
                case.name, f"denoising step {k}", target, judge(found, own, exact, exactness=target.exactness)
            )


def _after_step(target: Target, k: int, cases: tuple[LoopCase, ...]) -> list[NDArray]:
    """x after denoising step k alone, begun at the x that the float32 reference has there."""
    engine = target.ready(single_step(cases[0].loop, k), cases[0].batch)
    return [
        case.plan(
            engine,
            x=_planned(REFERENCE, case).chain[:, k],
            noise=case.tape[[0, k + 1]],
            tables=case.tables and tuple(table if table is None else table[k : k + 1] for table in case.tables),
        ).x
        for case in cases
    ]


def quick_check(names: Iterable[str]) -> list[dict[str, Any]]:
    """A few seconds of the case table on each of these backends.

    Returns dicts of case, backend, ratio (passed up to 1), passed: one for each kind of op, the worst of its cases, and
    one for each loop. Needs torch, for the reference is the yardstick.
    """
    loops = [case for case in loop_cases() if case.name in QUICK_LOOPS]
    found = []
    for target in targets(names):
        worst: dict[str, Verdict] = {}
        ops = run_ops(target, [case for case in op_cases() if _is_small(case)], seeds=(0,))
        for result in (*ops, *run_loops(target, loops)):
            name = result.case.split()[0] if result.what.startswith("output") else f"loop: {result.case}"
            if name not in worst or result.verdict.ratio > worst[name].ratio:
                worst[name] = result.verdict
        found += [
            {"case": name, "backend": str(target), "ratio": verdict.ratio, "passed": verdict.passed}
            for name, verdict in worst.items()
        ]
    return found


QUICK_LOOPS = ("one guide step", "epsilon, clipped", "attention", "dpm_solver_pp_2m")


def _is_small(case: OpCase) -> bool:
    return case.program.flops * case.batch < 3e5


# What targets are judged by is the same for all. Numbers of ops are large, and wanted for one case after another.
@lru_cache(maxsize=8)
def _drawn(case: OpCase, seed: int) -> OpCase:
    return case.seeded(seed)


@lru_cache(maxsize=16)
def _evaluated(target: Target, case: OpCase) -> list[NDArray[np.floating]]:
    return target.evaluate(case)


@lru_cache(maxsize=512)
def _planned(target: Target, case: LoopCase) -> Result:
    return case.plan(target.ready(case.loop, case.batch))


@lru_cache(maxsize=1024)
def _judged_by(target: Target, k: int, cases: tuple[LoopCase, ...]) -> list[NDArray]:
    # The next x is what the reference had, except where a multistep sampler had looked further back.
    if target == REFERENCE and not cases[0].loop.steps.d[k]:
        return [_planned(target, case).chain[:, k + 1] for case in cases]
    return _after_step(target, k, cases)
