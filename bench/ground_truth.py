"""Whether an answer is right: its error against float64, by the project's own rule.

The bounds are those of diffuser_fast/conformance, for engines and peers alike: "exact" is within twice the error that
float32 implies, "close" within four times. Beyond these an answer may still be good ("fast": its deviation is stated)
or wrong, and what is wrong is not timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import diffuser_fast
from diffuser_fast.conformance import Implied, ImpliedPlan, implied_by_plan, judge

from .machine import SCRATCH, whole
from .problem import FAR, Problem

WRONG = 0.05  # root mean square error, as a part of the root mean square of the answer
CLASSES = ("exact", "close", "fast", "wrong")
KEPT = 10**9  # operations of a call, from which its right answer is kept


@dataclass(frozen=True)
class Judgement:
    """exactness: one of ``CLASSES``. deviation: relative root mean square error against float64. over: the error as a
    multiple of what "exact" allows. Each is that of the worst output."""

    exactness: str
    deviation: float
    over: float


class GroundTruth:
    """The right answers of one problem, and the errors that float32 implies for them.

    device: where the reference runs, in float64: a plan of 1024 takes minutes on a CPU.
    """

    def __init__(self, problem: Problem, device: str = "cpu") -> None:
        kept = _kept(problem, device)
        names = [name.removeprefix("exact ") for name in kept if name.startswith("exact ")]
        self.implied = {name: Implied(kept[f"exact {name}"], kept[f"errors {name}"]) for name in names}
        self.exact = {name: one.exact for name, one in self.implied.items()}

    def judge(self, found: Mapping[str, NDArray]) -> Judgement:
        """The verdict on one candidate's answer; ValueError if it lacks an output or has another shape."""
        if set(found) != set(self.implied):
            raise ValueError(f"answer: found {sorted(found)}, expected {sorted(self.implied)}")
        parts = [_judge(array, self.implied[name]) for name, array in found.items()]
        worst = max((part.exactness for part in parts), key=CLASSES.index)
        return Judgement(worst, max(part.deviation for part in parts), max(part.over for part in parts))


def _computed(problem: Problem, device: str) -> dict[str, NDArray]:
    plan = implied_by_plan(problem.loop, problem.inpainting, problem.tape, x=problem.x, device=device)
    parts = _named(problem, plan).items()
    return {f"{of} {name}": getattr(part, of) for name, part in parts for of in ("exact", "errors")}


def _kept(problem: Problem, device: str) -> dict[str, NDArray]:
    """What takes minutes to compute is kept on disk, by a digest of the problem and of the code behind it."""
    if problem.flops < KEPT:
        return _computed(problem, device)
    package = Path(diffuser_fast.__file__).parent
    sources = [*package.glob("core/**/*.py"), *package.glob("conformance/*.py"), package / "backends" / "reference.py"]
    digest = problem.digest([device.encode(), *(source.read_bytes() for source in sorted(sources))])
    path = SCRATCH / "truth" / f"{digest}.npz"
    if not path.exists():
        with whole(path) as part, part.open("wb") as file:
            np.savez(file, **_computed(problem, device))
    with np.load(path) as kept:
        return dict(kept)


def _named(problem: Problem, plan: ImpliedPlan) -> dict[str, Implied]:
    """What is implied for each part of ``Problem.answer``."""
    if problem.workload.kind == "step":
        return {"y": plan.x}
    if problem.workload.kind == "gradient":
        return {"value": plan.values, "gradient": Implied((plan.x.exact - problem.x) / FAR, plan.x.errors / FAR)}
    return {"x": plan.x} if problem.loop.guide is None else {"x": plan.x, "value": plan.values}


def _judge(found: NDArray, implied: Implied) -> Judgement:
    verdicts = [judge(found, implied, exactness=exactness) for exactness in CLASSES[:2]]
    deviation = verdicts[0].rms / (float(np.sqrt(np.mean(np.square(implied.exact)))) or 1.0)
    passed = [verdict.exactness for verdict in verdicts if verdict.passed]
    return Judgement(passed[0] if passed else "fast" if deviation <= WRONG else "wrong", deviation, verdicts[0].ratio)
