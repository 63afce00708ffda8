"""What denoising steps take on this machine: measured when first asked for, and again with every plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .samplers import StepTable

WINDOW = 64  # plans that a margin is taken from
# Of the cost. A plan that is held up takes fewer steps for its rest, so the margin need not cover the worst there was:
# then one hiccup would take half of the steps from all plans after it.
LEAST_MARGIN, MOST_MARGIN = 0.05, 0.5
RATE = 1 / 8  # of the newest plan in the running means
LATE = 1e-3  # the share of plans that may be late: the reserve is what holds it there
FIRST_RESERVE, RESERVE_STEP = 0.5, 0.25  # in rows
ALIKE = 0.1  # how much it counts in a fit that a guide step costs what a row does; times that agree outweigh it


class Measured(NamedTuple):
    """A plan that was run to be timed: rows of the table, seconds."""

    rows: Sequence[int]
    seconds: float


class Costs:
    """Seconds of each row of a table, for one size of batch and horizon, where threads share ops or one goes alone.

    A plan costs ``once`` (after a rest its first row finds cold caches) and each row ``base + guide_steps * gradient``,
    fitted to measured plans by relative errors. Running means of what plans took correct ``once`` and the scale of
    rows; the margin is the 90th percentile of what they took beyond their cost. The last row of a plan cannot be cut:
    time is kept in reserve for it, at most one row, more where plans were late and less where they were not.
    """

    def __init__(self, steps: StepTable, measured: Sequence[Measured], *, threads: int = 1) -> None:
        counts = np.array([[1, len(m.rows), steps.guide_steps[list(m.rows)].sum()] for m in measured], float)
        seconds = np.array([m.seconds for m in measured])
        floor = (seconds / counts[:, 1]).min() / 5  # no fit of noisy times may say that rows are free
        a_row = np.median(seconds / counts[:, 1])
        equations = np.concatenate((counts / seconds[:, None], [[0, -ALIKE / a_row, ALIKE / a_row]]))
        self.once, row, gradient = _fitted(equations, np.append(np.ones(len(counts)), 0.0))
        self._rows = max(row, floor) + gradient * steps.guide_steps
        self.row = float(self._rows.min())
        self._scale = {"shared": 1.0, "alone": float(threads)}
        self._beyond: dict[str, deque[float]] = {mode: deque(maxlen=WINDOW) for mode in self._scale}
        self._margin = dict.fromkeys(self._scale, LEAST_MARGIN)  # made after a plan, not while one waits for it
        self._reserve = dict.fromkeys(self._scale, FIRST_RESERVE)

    def rows(self, mode: str) -> NDArray[np.float64]:
        """Seconds of each row, margin included. mode: "shared" or "alone"."""
        return self._rows * self._scale[mode] * (1 + self.margin(mode))

    def margin(self, mode: str) -> float:
        """The part of the cost that is added for what cannot be known."""
        return self._margin[mode]

    def reserve(self, mode: str) -> float:
        """Seconds before its deadline that a plan should end."""
        return self._reserve[mode] * self.row * self._scale[mode]

    def plan(self, rows: Sequence[int], cost: NDArray[np.float64]) -> float:
        """Seconds of a plan of these rows, each at its ``cost`` (``rows(mode)``)."""
        return self.once + float(cost[np.asarray(rows)].sum())

    def learn(self, rows: Sequence[int], seconds: float, mode: str) -> None:
        """Of a plan that was run."""
        known = float(self._rows[list(rows)].sum())
        predicted = self.once + known * self._scale[mode]
        ratio = seconds / predicted
        self._beyond[mode].append(max(ratio - 1, 0.0))
        self._margin[mode] = float(np.clip(np.percentile(self._beyond[mode], 90), LEAST_MARGIN, MOST_MARGIN))
        # One plan that was held up says nothing about the next: that is what the margin is for. A short plan says more
        # of what it costs to begin, a long one of its rows: a step of least mean squares.
        wrong = RATE * (float(np.clip(ratio, 0.5, 1.5)) - 1) * predicted / (self.row**2 + known**2)
        self.once = max(self.once + wrong * self.row**2, 0.0)
        self._scale[mode] = max(self._scale[mode] + wrong * known, 1e-3)

    def ended(self, late: bool, mode: str) -> None:
        """Of a plan that could have been in time. The share of late ones goes to ``LATE``."""
        self._reserve[mode] = float(np.clip(self._reserve[mode] + RESERVE_STEP * (late - LATE), 0, 1))


def _fitted(equations: NDArray[np.float64], results: NDArray[np.float64]) -> tuple[float, float, float]:
    """Once, row, gradient by least squares; once and gradient are not negative."""
    used = [0, 1, 2]
    while True:
        found = np.zeros(3)
        found[used] = np.linalg.lstsq(equations[:, used], results, rcond=None)[0]
        wrong = [k for k in used if k != 1 and found[k] < 0]
        if not wrong:
            return float(found[0]), float(found[1]), float(found[2])
        used.remove(min(wrong, key=lambda k: found[k]))
