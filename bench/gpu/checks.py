"""Right answers on the device: the case table, the recorded traces, and the noise of other engines.

Each check is a generator of findings ``{"case", "worst", "passed"}``; worst: the error as a multiple of what the class
allows, or the deviation itself where the class has no yardstick. They run in processes of their own (jobs.py), because
nearly all of their time is Triton compiling kernels for shapes that nothing else uses.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np

from diffuser_fast import backends
from diffuser_fast.backends import Seeded
from diffuser_fast.conformance import EXACT, FACTORS, LoopCase, Target, loop_cases, op_cases, run_loops, run_ops
from diffuser_fast.core.normalizers import Gaussian
from diffuser_fast.planner import CLASSES

from ..machine import ROOT
from ..problem import problem
from ..truth import WRONG
from ..workloads import ladder
from .ours import BACKEND
from .rung import failure

GOLDENS = ROOT / "tests" / "golden"
AGREED = 1e-4  # of a trace's noise and of engines' plans from the same seed, in normalised units
NOISE = "hopper/guided/b1"
Finding = dict[str, Any]


def conformance(
    precision: str, device: str, part: int = 0, parts: int = 1, only: str | None = None
) -> Iterator[Finding]:
    """Every ``parts``-th case: loops first, then an op of every kind, then the next of every kind.

    Classes without a yardstick are held to whole networks and their gradients, within what the ladder calls wrong.
    only: the name of one case. A case that raises is a finding, and the next one is tried.
    """
    target = Target(BACKEND, precision=precision, device=device)
    judged = _against_the_yardstick if has_yardstick(precision) else _deviation
    for case in [case for case in table(precision) if only in (None, case.name)][part::parts]:
        try:
            worst = judged(target, case)
        except Exception as error:
            yield {"case": f"{case.name}: {failure(error)}", "worst": None, "passed": False}
            if "CUDA" in str(error):  # after an illegal access nothing works in this process
                raise
            continue
        yield {"case": case.name, "worst": worst if np.isfinite(worst) else None, "passed": worst <= 1}


def table(precision: str) -> list[Any]:
    """The cases of a precision, in the order in which they are worth their time."""
    if has_yardstick(precision):
        return [*loop_cases(), *_mixed()]
    return [case for case in op_cases() if case.name.startswith("network")]


def has_yardstick(precision: str) -> bool:
    """Whether its class is held to the reference's own error, or states its deviation."""
    return exactness(precision) in FACTORS


def exactness(precision: str) -> str:
    """The class of a precision."""
    return CLASSES.get(precision, "fast")


def _against_the_yardstick(target: Target, case: Any) -> float:
    run = run_loops if isinstance(case, LoopCase) else run_ops
    return max(row.verdict.ratio for row in run(target, [case], seeds=(0,)))


def _deviation(target: Target, case: Any) -> float:
    """Root mean square error of the worst output, as a part of the output's size and of what is called wrong."""
    found, exact = target.evaluate(case), EXACT.evaluate(case)
    sizes = [float(np.sqrt(np.mean(np.square(y)))) or 1.0 for y in exact]
    errors = [float(np.sqrt(np.mean(np.square(a - b)))) for a, b in zip(found, exact, strict=True)]
    return max(error / size for error, size in zip(errors, sizes, strict=True)) / WRONG


def goldens(precision: str, device: str) -> Iterator[Finding]:
    """The traces of tests/golden, through load and Planner: the largest error of actions, observations and values."""
    import diffuser_fast as dfx

    allowed = AGREED if has_yardstick(precision) else WRONG
    for folder in sorted(path.parent for path in GOLDENS.glob("*/golden.npz")):
        with np.load(folder / "golden.npz") as file:
            golden = dict(file)
        checkpoint = dfx.load(folder)
        planner = dfx.Planner(
            checkpoint, BACKEND, batch_size=golden["tape"].shape[1], precision=precision, device=device
        )
        given = {int(t): obs for t, obs in zip(golden["cond_keys"], golden["cond_vals"], strict=True)}
        with warnings.catch_warnings():
            # Mazes were recorded from starts outside their statistics; plans hold the nearest value inside.
            warnings.filterwarnings("ignore", ".*beyond the data's limits", UserWarning)
            plans = planner.plan(given, noise=golden["tape"])
        error = _distance(plans, golden, checkpoint.normalizers)
        yield {"case": folder.name, "worst": error / allowed, "passed": error <= allowed}


def noise(precision: str, device: str) -> Iterator[Finding]:
    """The same seed, plan for plan: against the C++ engine, or where there is none against the reference."""
    loop = problem(ladder().find(NOISE)).loop
    given = problem(ladder().find(NOISE)).known
    other = "cpu" if backends.why_not("cpu", loop) is None else "reference"
    ours = backends.get(BACKEND).ready(loop, device=device, batch=4, precision=precision)
    theirs = backends.get(other).ready(loop, device=None, batch=4, precision="float32")
    allowed = AGREED if has_yardstick(precision) else WRONG
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


def _distance(plans: Any, golden: dict[str, Any], normalizers: Any) -> float:
    def scaled(error: Any, n: Any) -> float:
        return float(np.abs(error / (n.stds if isinstance(n, Gaussian) else (n.maxs - n.mins) / 2)).max())

    values = float(np.abs(plans.values - golden["values"]).max()) / max(float(np.abs(golden["values"]).max()), 1e-30)
    return max(
        scaled(plans.actions - golden["actions"], normalizers.actions),
        scaled(plans.observations - golden["observations"], normalizers.observations),
        values,
    )
