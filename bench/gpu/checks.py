"""Right answers on the device: the case table, the recorded traces, and the noise of other engines.

Each check is a generator of findings ``{"case", "worst", "passed"}``; worst: the error as a multiple of what the class
allows, or the deviation itself where the class has no yardstick. They run in processes of their own (jobs.py), because
nearly all of their time is Triton compiling kernels for shapes that nothing else uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from diffuser_fast import backends
from diffuser_fast.backends import Seeded
from diffuser_fast.conformance import EXACT, FACTORS, Target, loop_cases, op_cases, run_loops, run_ops
from diffuser_fast.core.normalizers import Gaussian

from ..machine import ROOT
from ..problem import problem
from ..truth import WRONG
from ..workloads import ladder
from .ours import BACKEND

GOLDENS = ROOT / "tests" / "golden"
AGREED = 1e-4  # of a trace's noise and of engines' plans from the same seed, in normalised units
NOISE = "hopper/guided/b1"
Finding = dict[str, Any]


def conformance(precision: str, part: int = 0, parts: int = 1, only: str = "") -> Iterator[Finding]:
    """Every ``parts``-th case of the table, loops first, then an op of every kind, then the next of every kind.

    only: part of the names of the cases.
    """
    target = Target(BACKEND, precision=precision)
    cases = [case for case in chain(loop_cases(), _mixed()) if only in case.name][part::parts]
    for case in cases:
        rows = (run_loops if hasattr(case, "guide") else run_ops)(target, [case], seeds=(0,))
        try:
            verdicts = [row.verdict for row in rows]
        except Exception as error:
            error.args = (f"{case.name}: {error}",)
            raise
        worst = max(verdict.ratio for verdict in verdicts)
        yield {"case": case.name, "worst": worst, "passed": all(verdict.passed for verdict in verdicts)}


def goldens(precision: str) -> Iterator[Finding]:
    """The traces of tests/golden, through load and Planner: the largest error of actions, observations and values."""
    import diffuser_fast as dfx

    exactness = Target(BACKEND, precision=precision).exactness
    allowed = AGREED if exactness in FACTORS else WRONG
    for folder in sorted(path.parent for path in GOLDENS.glob("*/golden.npz")):
        with np.load(folder / "golden.npz") as file:
            golden = dict(file)
        checkpoint = dfx.load(folder)
        planner = dfx.Planner(checkpoint, BACKEND, batch_size=golden["tape"].shape[1], precision=precision)
        given = {int(t): obs for t, obs in zip(golden["cond_keys"], golden["cond_vals"], strict=True)}
        error = _distance(planner.plan(given, noise=golden["tape"]), golden, checkpoint.normalizers)
        yield {"case": folder.name, "worst": error / allowed, "passed": error <= allowed}


def noise(precision: str) -> Iterator[Finding]:
    """The same seed, plan for plan: against the C++ engine, or where there is none against the reference."""
    loop = problem(ladder().find(NOISE)).loop
    given = problem(ladder().find(NOISE)).known
    other = "cpu" if backends.why_not("cpu", loop) is None else "reference"
    ours = backends.get(BACKEND).ready(loop, device=None, batch=4, precision=precision)
    theirs = backends.get(other).ready(loop, device=None, batch=4, precision="float32")
    allowed = AGREED if Target(BACKEND, precision=precision).exactness in FACTORS else WRONG
    for plan in range(3):
        error = float(np.abs(ours(given, Seeded(7, plan)).x - theirs(given, Seeded(7, plan)).x).max())
        yield {"case": f"plan {plan} of seed 7, {other}", "worst": error / allowed, "passed": error <= allowed}


def float64(device: str) -> Iterator[Finding]:
    """The reference in float64 on the device and on the CPU: what the ladder's answers are judged by."""
    given = problem(ladder().find(NOISE))
    there, here = (
        EXACT.ready(given.loop, 1, where)(given.known, given.tape).x for where in (device, "cpu")
    )  # fmt: skip
    error, allowed = float(np.abs(there - here).max()), 1e-9 * float(np.abs(here).max())
    yield {"case": f"{NOISE} in float64", "worst": error / allowed, "passed": error <= allowed}


CHECKS = {"conformance": conformance, "goldens": goldens, "same noise": noise, "float64": float64}


def total(check: str) -> int:
    """How many findings there are when a check is complete."""
    counts = {
        "conformance": len(loop_cases()) + len(op_cases()), "goldens": len(list(GOLDENS.glob("*/golden.npz"))),
        "same noise": 3, "float64": 1,
    }  # fmt: skip
    return counts[check]


def _mixed() -> list[Any]:
    kinds: dict[str, list[Any]] = {}
    for case in op_cases():
        kinds.setdefault(case.name.split()[0], []).append(case)
    return [case for cases in zip_longest(*kinds.values()) for case in cases if case is not None]


def _distance(plans: Any, golden: dict[str, Any], normalizers: Any) -> float:
    def scaled(error: Any, n: Any) -> float:
        return float(np.abs(error / (n.stds if isinstance(n, Gaussian) else (n.maxs - n.mins) / 2)).max())

    values = float(np.abs(plans.values - golden["values"]).max()) / max(float(np.abs(golden["values"]).max()), 1e-30)
    return max(
        scaled(plans.actions - golden["actions"], normalizers.actions),
        scaled(plans.observations - golden["observations"], normalizers.observations),
        values,
    )
