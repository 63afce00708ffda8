"""What denoising steps take on this machine: measured when first asked for, and again with every plan.

csrc/capi/costs.cc does the same for C, in the same order of sums: a test compares the bits, and has the constants
written into csrc/capi/bundle.gen.h.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .samplers import StepTable

MODES = ("shared", "alone")  # threads share every op of a row, where they do; or one goes alone
WINDOW = 64  # plans that a margin is taken from
QUANTILE = 0.9  # of them
# Of the cost. A plan that is held up takes fewer steps for its rest, so the margin need not cover the worst there was:
# then one hiccup would take half of the steps from all plans after it.
LEAST_MARGIN, MOST_MARGIN = 0.05, 0.5
RATE = 1 / 8  # of the newest plan in the running means
ALIKE = 0.1  # how much it counts in a fit that a guide step costs what a row does; times that agree outweigh it
FLOOR = 1 / 5  # of the least mean row that was measured: no fit of noisy times may say that rows are free
# The reserve. What is beyond the mean has a tail: so much more than the most there was is kept, and slowly forgotten.
FIRST_SPREAD = 0.5  # in rows
SAFETY = 1.5
FORGET = 1 / 4096  # a plan


class Measured(NamedTuple):
    """A plan that was run to be timed: rows of the table, seconds."""

    rows: Sequence[int]
    seconds: float


class Costs:
    """Seconds of each row of a table, for one size of batch and horizon, where threads share ops or one goes alone.

    A plan costs ``once`` (after a rest its first row finds cold caches) and each row ``row + guide_steps * gradient``,
    fitted to measured plans by relative errors. Running means of what plans took correct ``once`` and the scale of
    rows; the margin is the 90th percentile of what they took beyond their cost.

    A step that has begun cannot be cut, and the answer has to be made of its result. ``reserve`` is the time kept for
    that: the mean of what passes between the end that was expected when it could last be changed and the answer, and
    half as much again as the most by which any plan of the last thousands went beyond that mean. A plan that was held
    up by more than a row and what an answer takes is no rule for others.
    """

    def __init__(self, steps: StepTable, measured: Sequence[Measured], *, threads: int = 1) -> None:
        guides = steps.guide_steps.tolist()
        counts = [(len(m.rows), sum(guides[k] for k in m.rows)) for m in measured]
        each = [m.seconds / n for m, (n, _) in zip(measured, counts, strict=True)]
        self.once, row, self._gradient = _fitted(counts, [m.seconds for m in measured], ALIKE / median(each))
        self._row = max(row, min(each) * FLOOR)
        self._each = [self._row + self._gradient * g for g in guides]
        self._costs = np.array(self._each)
        self.row, self.dearest = min(self._each), max(self._each)
        self._scale = {"shared": 1.0, "alone": float(threads)}
        self._beyond: dict[str, deque[float]] = {mode: deque(maxlen=WINDOW) for mode in MODES}
        self._margin = dict.fromkeys(MODES, LEAST_MARGIN)  # made after a plan, not while one waits for it
        self._mean: dict[str, float | None] = dict.fromkeys(MODES)
        self._spread = {mode: FIRST_SPREAD * self.row * self._scale[mode] for mode in MODES}
        self._nanoseconds = {mode: self._made(mode) for mode in MODES}

    def nanoseconds(self, mode: str) -> NDArray[np.int64]:
        """Of each row, margin included. mode: "shared" or "alone"."""
        return self._nanoseconds[mode]

    def margin(self, mode: str) -> float:
        """The part of the cost that is added for what cannot be known."""
        return self._margin[mode]

    def reserve(self, mode: str) -> float:
        """Seconds before the answer's deadline that the last row should be expected to end."""
        return max((self._mean[mode] or 0.0) + self._spread[mode], 0.0)

    def plan(self, rows: int, guide_steps: int, mode: str) -> float:
        """Seconds of a plan of so many rows, with so many guide steps in all."""
        return self.once + (rows * self._row + guide_steps * self._gradient) * self._factor(mode)

    def learn(self, rows: Sequence[int], seconds: float, mode: str) -> None:
        """Of a plan that was run."""
        known = 0.0
        for k in rows:
            known += self._each[k]
        predicted = self.once + known * self._scale[mode]
        ratio = seconds / predicted
        beyond = self._beyond[mode]
        beyond.append(max(ratio - 1, 0.0))
        at = math.ceil(QUANTILE * (len(beyond) - 1))
        self._margin[mode] = min(max(sorted(beyond)[at], LEAST_MARGIN), MOST_MARGIN)
        # One plan that was held up says nothing about the next: that is what the margin is for. A short plan says more
        # of what it costs to begin, a long one of its rows: a step of least mean squares.
        wrong = RATE * (min(max(ratio, 0.5), 1.5) - 1) * predicted / (self.row * self.row + known * known)
        self.once = max(self.once + wrong * (self.row * self.row), 0.0)
        self._scale[mode] = max(self._scale[mode] + wrong * known, 1e-3)
        self._nanoseconds[mode] = self._made(mode)

    def answered(self, beyond: float, mode: str) -> None:
        """Of a plan whose answer came so many seconds after its rows were expected to end, when that could last be
        changed."""
        mean = self._mean[mode]
        mean = beyond if mean is None else mean
        away, most = beyond - mean, self.dearest * self._scale[mode] + max(mean, 0.0)
        self._mean[mode] = mean + RATE * min(max(away, -most), most)
        kept = self._spread[mode] * (1 - FORGET)
        self._spread[mode] = kept if away > most else max(kept, min(SAFETY * away, most))

    def _factor(self, mode: str) -> float:
        return self._scale[mode] * (1 + self._margin[mode])

    def _made(self, mode: str) -> NDArray[np.int64]:
        return np.minimum(np.ceil(self._costs * self._factor(mode) * 1e9), 1e15).astype(np.int64)


def _fitted(counts: Sequence[tuple[int, int]], seconds: Sequence[float], alike: float) -> tuple[float, float, float]:
    """Once, row, gradient by least squares of relative errors; once and gradient are not negative.

    By elimination of the normal equations, in plain arithmetic: what C++ does too, to the bit.
    """
    a, b = [[0.0] * 3 for _ in range(3)], [0.0] * 3
    for (rows, guide_steps), took in zip(counts, seconds, strict=True):
        x = (1 / took, rows / took, guide_steps / took)
        for i in range(3):
            for j in range(3):
                a[i][j] += x[i] * x[j]
            b[i] += x[i]
    a[1][1] += alike * alike
    a[2][2] += alike * alike
    a[1][2] -= alike * alike
    a[2][1] -= alike * alike
    for i in range(3):
        a[i][i] *= 1 + 1e-12
    used = [True, True, True]
    while True:
        found = _solved(a, b, used)
        worse = 0 if found[0] < found[2] else 2
        if found[worse] >= 0:
            return found[0], found[1], found[2]
        used[worse] = False


def _solved(a: list[list[float]], b: list[float], used: list[bool]) -> list[float]:
    m = [[a[i][j] if used[i] and used[j] else float(i == j) for j in range(3)] for i in range(3)]
    r = [b[i] if used[i] else 0.0 for i in range(3)]
    for i in range(3):
        for j in range(i + 1, 3):
            factor = m[j][i] / m[i][i]
            for k in range(i, 3):
                m[j][k] -= factor * m[i][k]
            r[j] -= factor * r[i]
    x = [0.0] * 3
    for i in (2, 1, 0):
        for k in range(i + 1, 3):
            r[i] -= m[i][k] * x[k]
        x[i] = r[i] / m[i][i]
    return x
