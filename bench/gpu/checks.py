"""Right answers on the device: the case table, the recorded traces, and the noise of other engines.

Each check is a generator of findings ``{"case", "worst", "passed"}``; worst: the error as a multiple of what the class
allows. They run in processes of their own (jobs.py), because
nearly all of their time is Triton compiling kernels for shapes that nothing else uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np

from diffuser_fast import backends
from diffuser_fast.backends import Seeded
from diffuser_fast.conformance import (
    ARITHMETIC,
    EXACT,
    LoopCase,
    Target,
    implied_by_plan,
    judge,
    loop_cases,
    op_cases,
    run_loops,
    run_ops,
)
from diffuser_fast.core.conditions import parse_conditions
from diffuser_fast.planner import CLASSES

from ..machine import ROOT
from ..problem import problem
from ..workloads import ladder
from .ours import BACKEND
from .rung import failure

GOLDENS = ROOT / "tests" / "golden"
NOISE = "hopper/guided/b1"
Finding = dict[str, Any]


def conformance(
    precision: str, device: str, part: int = 0, parts: int = 1, only: str | None = None
) -> Iterator[Finding]:
    """Every ``parts``-th case: loops first, then an op of every kind, then the next of every kind.

    only: the name of one case. A case that raises is a finding, and the next one is tried.
    """
    target = Target(BACKEND, precision=precision, device=device)
    for case in [case for case in table(precision) if only in (None, case.name)][part::parts]:
        try:
            worst = _ratio(target, case)
        except Exception as error:
            yield {"case": f"{case.name}: {failure(error)}", "worst": None, "passed": False}
            if "CUDA" in str(error):  # after an illegal access nothing works in this process
                raise
            continue
        yield {"case": case.name, "worst": worst if np.isfinite(worst) else None, "passed": worst <= 1}


def table(precision: str) -> list[Any]:
    """The cases of a precision, in the order in which they are worth their time; narrow ones have whole networks."""
    if exactness(precision) != "fast":
        return [*loop_cases(), *_mixed()]
    return [case for case in op_cases() if case.name.startswith("network")]


def exactness(precision: str) -> str:
    """The class of a precision."""
    return CLASSES.get(precision, "fast")


def _ratio(target: Target, case: Any) -> float:
    run = run_loops if isinstance(case, LoopCase) else run_ops
    return max(row.verdict.ratio for row in run(target, [case], seeds=(0,)))


def goldens(precision: str, device: str) -> Iterator[Finding]:
    """The traces of tests/golden, through load and Planner: actions, observations and values."""
    import diffuser_fast as dfx

    for folder in sorted(path.parent for path in GOLDENS.glob("*/golden.npz")):
        with np.load(folder / "golden.npz") as file:
            golden = dict(file)
        planner = dfx.Planner(
            dfx.load(folder), BACKEND, batch_size=golden["tape"].shape[1], precision=precision, device=device
        )
        given = {int(t): obs for t, obs in zip(golden["cond_keys"], golden["cond_vals"], strict=True)}
        plans, normalizers = planner.plan(given, noise=golden["tape"]), planner.checkpoint.normalizers
        implied = implied_by_plan(
            planner.loop, parse_conditions(given, planner.horizon, normalizers)[0], golden["tape"],
            arithmetic=ARITHMETIC[precision],
        ).ranked()  # fmt: skip
        parts = zip((plans.actions, plans.observations, plans.values), (*implied.physical(normalizers), implied.values))
        worst = max(judge(*part, exactness=exactness(precision)).ratio for part in parts)
        yield {"case": folder.name, "worst": worst, "passed": worst <= 1}


def noise(precision: str, device: str) -> Iterator[Finding]:
    """The noise that the engine draws: its plans of a seed, judged by the plans of core/noise.py's tape."""
    given = problem(ladder().find(NOISE))
    engine = backends.get(BACKEND).ready(given.loop, device=device, batch=4, precision=precision)
    for plan in range(3):
        address = Seeded(7, plan)
        implied = implied_by_plan(given.loop, given.known, address, batch=4, arithmetic=ARITHMETIC[precision])
        worst = judge(engine(given.known, address).x, implied.x, exactness=exactness(precision)).ratio
        yield {"case": f"plan {plan} of seed 7", "worst": worst, "passed": worst <= 1}


def float64(device: str) -> Iterator[Finding]:
    """The reference in float64 on the device and on the CPU: what the ladder's answers are judged by."""
    given = problem(ladder().find(NOISE))
    there = EXACT.ready(given.loop, 1, device)(given.known, given.tape).x
    implied = implied_by_plan(given.loop, given.known, given.tape, arithmetic=ARITHMETIC["float64"])
    worst = judge(there, implied.x, sides=2).ratio
    yield {"case": f"{NOISE} in float64", "worst": worst, "passed": worst <= 1}


CHECKS = {"conformance": conformance, "goldens": goldens, "same noise": noise, "float64": float64}


def total(check: str, precision: str) -> int:
    """How many findings there are when a check is complete."""
    counts = {
        "conformance": len(table(precision)), "goldens": len(list(GOLDENS.glob("*/golden.npz"))),
        "same noise": 3, "float64": 1,
    }  # fmt: skip
    return counts[check]


def _mixed() -> list[Any]:
    kinds: dict[str, list[Any]] = {}
    for case in op_cases():
        kinds.setdefault(case.name.split()[0], []).append(case)
    return [case for cases in zip_longest(*kinds.values()) for case in cases if case is not None]
