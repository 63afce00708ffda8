"""Whether a candidate's answer is right: its error against float64, by the project's own rule.

The rule is ``judge`` of diffuser_fast/conformance, for engines and peers alike: "exact" or "close". Beyond these an
answer may still be good ("fast": its deviation is stated) or wrong, and what is wrong is not timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffuser_fast.conformance import EXACT, REFERENCE, judge

from .problem import Problem

WRONG = 0.05  # root mean square error, as a part of the root mean square of the answer
CLASSES = ("exact", "close", "fast", "wrong")


@dataclass(frozen=True)
class Judgement:
    """exactness: one of ``CLASSES``. deviation: relative root mean square error against float64. over: the error as a
    multiple of what "exact" allows. Each is that of the worst output."""

    exactness: str
    deviation: float
    over: float


class GroundTruth:
    """The right answers of one problem: the reference's in float64, and in float32 what that precision costs.

    device: where the reference runs. On a GPU it does so in IEEE arithmetic: a plan of 1024 takes minutes on a CPU.
    """

    def __init__(self, problem: Problem, device: str = "cpu") -> None:
        import torch

        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            engines = [target.ready(problem.loop, problem.workload.batch, device) for target in (EXACT, REFERENCE)]
            results = [engine(problem.inpainting, problem.tape, x=problem.x) for engine in engines]
        self.exact, self.float32 = map(problem.answer, results)

    def judge(self, found: Mapping[str, NDArray]) -> Judgement:
        """The verdict on one candidate's answer; ValueError if it lacks an output or has another shape."""
        if set(found) != set(self.exact):
            raise ValueError(f"answer: found {sorted(found)}, expected {sorted(self.exact)}")
        parts = [self._judge(name, array) for name, array in found.items()]
        worst = max((part.exactness for part in parts), key=CLASSES.index)
        return Judgement(worst, max(part.deviation for part in parts), max(part.over for part in parts))

    def _judge(self, name: str, found: NDArray) -> Judgement:
        exact = self.exact[name]
        verdicts = [judge([found], [self.float32[name]], [exact], exactness=c) for c in CLASSES[:2]]
        deviation = verdicts[0].rms / (float(np.sqrt(np.mean(np.square(exact)))) or 1.0)
        passed = [verdict.exactness for verdict in verdicts if verdict.passed]
        exactness = passed[0] if passed else "fast" if deviation <= WRONG else "wrong"
        return Judgement(exactness, deviation, verdicts[0].ratio)
