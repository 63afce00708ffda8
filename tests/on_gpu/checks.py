"""Right answers on the device: noise, recorded plans, the conformance cases, and the float64 that judges the suite.

They run in processes of their own, several at once, because nearly all of their time is Triton compiling kernels for
shapes that nothing else uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from typing import Any

from bench.machine import ROOT
from bench.problem import problem
from bench.records import Sheet
from bench.remote import Failure, OutOfTime, Remote, sentence
from bench.workloads import workloads
from diffuser_fast.conformance import Target, loop_cases, op_cases
from diffuser_fast.planner import CLASSES

from .errors import case_error, float64_error, seeded_error, traced_error

BACKEND = "triton"
WORKLOAD = "hopper/guided/b1"  # of noise and float64
TRACES = ROOT / "tests" / "golden"
PARTS = 6  # the checks of a precision in so many processes
COLUMNS = ["precision", "class", "run", "of all", "failed", "worst, of what is allowed", "where"]


class Part:
    """In a process of its own: every ``parts``-th check of a precision. launches: the CUDA engine's; None: Triton."""

    def __init__(
        self, precision: str, device: str, part: int = 0, parts: int = 1, only: str | None = None,
        launches: str | None = None,
    ) -> None:  # fmt: skip
        checks = [check for check in planned(precision, device, launches) if only in (None, check[0])]
        self.left = iter(checks[part::parts])

    def next(self) -> tuple[str, float | str] | None:
        """A check's name and its error as a multiple of what is allowed, or what it raised; None after the last."""
        for name, check in self.left:
            try:
                return name, float(check())
            except Exception as error:
                if "CUDA" in str(error):  # after an illegal access nothing works in this process
                    raise
                return name, sentence(error)
        return None


def planned(precision: str, device: str, launches: str | None = None) -> Iterator[tuple[str, Callable[[], float]]]:
    """By name, in the order of their worth: plans, loops, an op of every kind, the next of every kind.

    Classes that only state their deviation are held to whole networks.
    """
    name = BACKEND if launches is None else "cuda"
    target, kinds = Target(name, precision=precision, device=device, launches=launches), {}
    given = problem(workloads().find(WORKLOAD))
    for plan in range(3):
        yield f"plan {plan} of seed 7", partial(seeded_error, given, target, plan)
    if precision == "float32":
        yield "float64 of the device", partial(float64_error, given, device)
    for folder in sorted(path.parent for path in TRACES.glob("*/golden.npz")):
        yield f"trace {folder.name}", partial(traced_error, folder, target)
    for case in op_cases():
        kinds.setdefault(case.name.split()[0], []).append(case)
    mixed = [case for cases in zip_longest(*kinds.values()) for case in cases if case]
    for case in kinds["network"] if exactness(precision) == "fast" else (*loop_cases(), *mixed):
        yield case.name, partial(case_error, target, case)


def checked(
    jobs: list[tuple], at_once: int, left: Callable[[], float], say: Callable[[str], None], name: str = BACKEND
) -> Sheet:
    """All jobs (arguments of a ``Part``), so many at a time, for as long as there is time: a row for each precision."""
    findings: dict[str, list[tuple[str, float | str]]] = {job[0]: [] for job in jobs}

    def one(job: tuple) -> None:
        with Remote(Part, *job) as there:
            try:
                while (finding := there.call("next", limit=left())) is not None:
                    findings[job[0]].append(finding)
            except OutOfTime:
                say(f"{job[0]}: there was no time for all of it")
            except Failure as error:
                findings[job[0]].append(("its process", str(error)))

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, jobs))
    return Sheet("checks", name, COLUMNS, [row(*item) for item in findings.items()])


def row(precision: str, found: list[tuple[str, float | str]]) -> list[Any]:
    """Of ``COLUMNS``. What is no number, or not finite, has failed, and is the worst there is."""
    errors = [(w if isinstance(w, float) and math.isfinite(w) else math.inf, case, w) for case, w in found]
    size, case, said = max(errors, key=lambda error: error[0], default=(math.inf, None, None))
    where, total = f"{case}: {said}" if isinstance(said, str) else case, len(list(planned(precision, "cpu")))
    failed = sum(error[0] > 1 for error in errors)
    return [precision, exactness(precision), len(found), total, failed, size if size < math.inf else None, where]


def exactness(precision: str) -> str:
    """The class of a precision."""
    return CLASSES.get(precision, "fast")
