"""Whether a candidate's answer is right: its error against float64, beside the error that float32 implies.

The bounds are the project's (diffuser_fast/conformance): "exact" is within twice what float32 implies, "close" within
four times. Beyond that an answer may still be good ("fast": its deviation is stated) or wrong, and what is wrong is not
timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffuser_fast.conformance import Implied, ImpliedPlan, implied_by_plan, judge

from .problem import FAR, Problem

WRONG = 0.05  # root mean square error, as a part of the root mean square of the answer


@dataclass(frozen=True)
class Judgement:
    """exactness: "exact", "close", "fast" or "wrong". deviation: relative root mean square error against float64.

    over: the error as a multiple of what "exact" allows, the worst of the outputs; 1 is the limit of "exact", 2 that of
    "close".
    """

    exactness: str
    deviation: float
    over: float


class Truth:
    """The right answers of one problem, and the errors that float32 implies for them."""

    def __init__(self, problem: Problem, device: str | None = None) -> None:
        implied = implied_by_plan(problem.loop, problem.known, problem.tape, x=problem.x, device=device)
        self.implied = _named(problem, implied)
        self.exact = {name: one.exact for name, one in self.implied.items()}

    def judge(self, found: Mapping[str, NDArray]) -> Judgement:
        """The verdict on one candidate's answer; ValueError if it lacks an output or has another shape."""
        if set(found) != set(self.exact):
            raise ValueError(f"answer: found {sorted(found)}, expected {sorted(self.exact)}")
        parts = [_judge(found[name], implied) for name, implied in self.implied.items()]
        order = ("exact", "close", "fast", "wrong")
        return Judgement(
            max((part.exactness for part in parts), key=order.index),
            max(part.deviation for part in parts),
            max(part.over for part in parts),
        )


@lru_cache(maxsize=1)
def truth(problem: Problem, device: str | None = None) -> Truth:
    """Remembered for the problem at hand: a long plan takes seconds in float64. device: where the reference runs."""
    return Truth(problem, device)


def _named(problem: Problem, plan: ImpliedPlan) -> dict[str, Implied]:
    """What is implied for each part of ``Problem.answer``."""
    if problem.workload.kind == "step":
        return {"y": plan.x}
    if problem.workload.kind == "gradient":
        return {"value": plan.values, "gradient": Implied((plan.x.exact - problem.x) / FAR, plan.x.errors / FAR)}
    return {"x": plan.x} if problem.loop.guide is None else {"x": plan.x, "value": plan.values}


def _judge(found: NDArray, implied: Implied) -> Judgement:
    verdicts = {name: judge(found, implied, exactness=name) for name in ("exact", "close")}
    size = float(np.sqrt(np.mean(np.square(implied.exact)))) or 1.0
    deviation = verdicts["exact"].rms / size
    passed = [name for name, verdict in verdicts.items() if verdict.passed]
    exactness = passed[0] if passed else "fast" if deviation <= WRONG else "wrong"
    return Judgement(exactness, deviation, verdicts["exact"].ratio)
