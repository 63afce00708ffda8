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
RATE = 1 / 8  # of the newest plan in the running mean


class Measured(NamedTuple):
    """A plan that was run to be timed: rows of the table, seconds."""

    rows: Sequence[int]
    seconds: float


class Costs:
    """Seconds of each row of a table, for one size of batch and horizon, where threads share ops or one goes alone.

    A row costs ``base + guide_steps * gradient``, fitted to measured plans. A running mean of what plans took over what
    was predicted corrects all of it; the margin is the 90th percentile of what they took beyond that.
    """

    def __init__(self, steps: StepTable, measured: Sequence[Measured], *, threads: int = 1) -> None:
        counts = np.array([[1, len(m.rows), steps.guide_steps[list(m.rows)].sum()] for m in measured], float)
        found, *_ = np.linalg.lstsq(counts, np.array([m.seconds for m in measured]), rcond=None)
        floor = min(m.seconds / len(m.rows) for m in measured) / 10  # no fit of noisy times may say that rows are free
        self.once, row, gradient = max(found[0], 0.0), max(found[1], floor), max(found[2], 0.0)
        self._rows = row + gradient * steps.guide_steps
        self._scale = {"shared": 1.0, "alone": float(threads)}
        self._beyond: dict[str, deque[float]] = {mode: deque(maxlen=WINDOW) for mode in self._scale}
        self._margin = dict.fromkeys(self._scale, LEAST_MARGIN)  # made after a plan, not while one waits for it

    def rows(self, mode: str) -> NDArray[np.float64]:
        """Seconds of each row, margin included. mode: "shared" or "alone"."""
        return self._rows * self._scale[mode] * (1 + self.margin(mode))

    def margin(self, mode: str) -> float:
        """The part of the cost that is added for what cannot be known."""
        return self._margin[mode]

    def plan(self, rows: Sequence[int], cost: NDArray[np.float64]) -> float:
        """Seconds of a plan of these rows, each at its ``cost`` (``rows(mode)``)."""
        return self.once + float(cost[np.asarray(rows)].sum())

    def learn(self, rows: Sequence[int], seconds: float, mode: str) -> None:
        """Of a plan that was run."""
        ratio = max(seconds - self.once, 0.0) / float(self._rows[list(rows)].sum() * self._scale[mode])
        self._beyond[mode].append(max(ratio - 1, 0.0))
        self._margin[mode] = float(np.clip(np.percentile(self._beyond[mode], 90), LEAST_MARGIN, MOST_MARGIN))
        # One plan that was held up says nothing about the next: that is what the margin is for.
        self._scale[mode] *= 1 + RATE * (float(np.clip(ratio, 0.5, 1.5)) - 1)
