"""The case table run on a target: a verdict for each case, for tests, bench and ``diffuser-fast doctor --check``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Arithmetic
from .error_bounds import Implied, Verdict, judge
from .implied import ImpliedPlan, implied_by_plan, implied_by_program
from .loops import LoopCase, loop_cases, single_step
from .ops import OpCase, op_cases
from .targets import EXACT, Target, targets

FEW = 24  # numbers: where there are fewer, more seeds are judged together, so that no single number decides


class CaseResult(NamedTuple):
    """One verdict: on which case, on what of it ("output y", "x", "values", "denoising step 3"), by which target."""

    case: str
    what: str
    target: Target
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.case}: {self.what} on {self.target}: {self.verdict}"


Seeds = Iterable[int] | None  # None: three, or for single steps two; more where there are few numbers


def run_ops(target: Target, cases: Iterable[OpCase] | None = None, seeds: Seeds = None) -> Iterator[CaseResult]:
    """Every output of every op case, judged."""
    for case in op_cases() if cases is None else cases:
        numbers = case.batch * min(math.prod(case.program.shapes[v]) for v in case.program.outputs.values())
        seeded = [_drawn(case, seed) for seed in seeds or _enough(3, numbers)]
        found, implied = zip(*((target.evaluate(one), _by_program(one, target.arithmetic)) for one in seeded))
        for name in case.program.outputs:
            parts = ([outputs[name] for outputs in group] for group in (found, implied))
            yield CaseResult(case.name, f"output {name}", target, judge(*parts, exactness=target.exactness))


def run_loops(target: Target, cases: Iterable[LoopCase] | None = None, seeds: Seeds = None) -> Iterator[CaseResult]:
    """Every loop case from noise to plan: x and, where there is a guide, values."""
    for case in loop_cases() if cases is None else cases:
        engine = target.ready(case.loop, case.batch)
        numbers = case.batch if case.guide else case.tape[0].size
        seeded = [case.seeded(seed) for seed in seeds or _enough(3, numbers)]
        found, implied = zip(*((one.plan(engine), _by_plan(one, target.arithmetic)) for one in seeded))
        for field in ("x", "values") if case.loop.guide else ("x",):
            parts = ([getattr(result, field) for result in group] for group in (found, implied))
            yield CaseResult(case.name, field, target, judge(*parts, exactness=target.exactness))


def run_steps(target: Target, cases: Iterable[LoopCase] | None = None, seeds: Seeds = None) -> Iterator[CaseResult]:
    """Every denoising step of every loop case by itself, from the x that the float64 reference has there
    (teacher-forced).
    """
    for case in loop_cases() if cases is None else cases:
        seeded = [case.seeded(seed) for seed in seeds or _enough(2, case.tape[0].size)]
        for k in range(case.loop.rows):
            engine = target.ready(single_step(case.loop, k), case.batch)
            found = [one.plan(engine, **_at_step(one, k)).x for one in seeded]
            implied = [_by_step(one, k, target.arithmetic) for one in seeded]
            verdict = judge(found, implied, exactness=target.exactness)
            yield CaseResult(case.name, f"denoising step {k}", target, verdict)


def _enough(seeds: int, numbers: int) -> range:
    return range(max(seeds, -(-FEW // numbers)))


def _at_step(case: LoopCase, k: int) -> dict[str, Any]:
    """What denoising step k alone is called with."""
    tables = case.tables and case.tables.steps(slice(k, k + 1))
    return {"x": _chain(case)[:, k], "noise": case.tape[[0, k + 1]], "tables": tables}


def quick_check(names: Iterable[str]) -> list[dict[str, Any]]:
    """A few seconds of the case table on each of these backends.

    Returns dicts of case, backend, ratio (passed up to 1), passed: one for each kind of op, the worst of its cases, and
    one for each loop. Needs torch, in which what is implied is computed.
    """
    loops = [case for case in loop_cases() if case.name in QUICK_LOOPS]
    found = []
    for target in targets(names):
        worst: dict[str, Verdict] = {}
        ops = run_ops(target, [case for case in op_cases() if _is_small(case)], seeds=(0, 1, 2))
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


# What targets are judged by is the same for all of an arithmetic. Numbers of ops are large, and wanted for one case
# after another.
@lru_cache(maxsize=32)
def _drawn(case: OpCase, seed: int) -> OpCase:
    return case.seeded(seed)


@lru_cache(maxsize=64)
def _by_program(case: OpCase, arithmetic: Arithmetic) -> dict[str, Implied]:
    return implied_by_program(case.program, case.weights, case.inputs, case.table, arithmetic)


@lru_cache(maxsize=64)
def _by_plan(case: LoopCase, arithmetic: Arithmetic) -> ImpliedPlan:
    return implied_by_plan(case.loop, case.inpainting, case.tape, tables=case.tables, arithmetic=arithmetic)


@lru_cache(maxsize=512)
def _by_step(case: LoopCase, k: int, arithmetic: Arithmetic) -> Implied:
    arguments = _at_step(case, k)
    noise = arguments.pop("noise")
    return implied_by_plan(single_step(case.loop, k), case.inpainting, noise, arithmetic=arithmetic, **arguments).x


@lru_cache(maxsize=64)
def _chain(case: LoopCase) -> NDArray[np.float32]:
    return case.plan(EXACT.ready(case.loop, case.batch)).chain.astype(np.float32)
