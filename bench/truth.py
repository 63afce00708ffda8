"""Whether a candidate's answer is right: its error against float64, beside the reference's own in float32.

The yardstick is the project's (diffuser_fast/conformance): "exact" is within twice the reference's own error, "close"
within eight times. Beyond that an answer may still be good ("fast": its deviation is stated) or wrong, and what is
wrong is not timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffuser_fast.conformance import EXACT, REFERENCE, judge

from .problem import Problem

WRONG = 0.05  # root mean square error, as a part of the root mean square of the answer


@dataclass(frozen=True)
class Judgement:
    """exactness: "exact", "close", "fast" or "wrong". deviation: relative root mean square error against float64.

    over: the error as a multiple of what "exact" allows, the worst of the outputs; 1 is the limit of "exact", about 4
    that of "close".
    """

    exactness: str
    deviation: float
    over: float


class Truth:
    """The right answers of one problem: from the reference in float64, and in float32 for the yardstick."""

    def __init__(self, problem: Problem, device: str | None = None) -> None:
        self.exact, self.float32 = (_answers(problem, target, device) for target in (EXACT, REFERENCE))

    def judge(self, found: Mapping[str, NDArray]) -> Judgement:
        """The verdict on one candidate's answer; ValueError if it lacks an output or has another shape."""
        if set(found) != set(self.exact):
            raise ValueError(f"answer: found {sorted(found)}, expected {sorted(self.exact)}")
        parts = [_judge(found[name], self.float32[name], self.exact[name]) for name in self.exact]
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


def _answers(problem: Problem, target, device: str | None) -> dict[str, NDArray]:
    engine = target.ready(problem.loop, problem.workload.batch, device)
    return problem.answer(engine(problem.known, problem.tape, x=problem.x))


def _judge(found: NDArray, reference: NDArray, exact: NDArray) -> Judgement:
    verdicts = {name: judge([found], [reference], [exact], exactness=name) for name in ("exact", "close")}
    size = float(np.sqrt(np.mean(np.square(exact)))) or 1.0
    deviation = verdicts["exact"].rms / size
    passed = [name for name, verdict in verdicts.items() if verdict.passed]
    exactness = passed[0] if passed else "fast" if deviation <= WRONG else "wrong"
    return Judgement(exactness, deviation, verdicts["exact"].ratio)
