"""Returns as a network learns them: of mean 0 and deviation 1, undone in its last layer when it is saved.

Discounted returns of locomotion are several hundred, far from a fresh network's output: at Adam's pace it would take
thousands of steps only to get there. The released code learns them as they are, in hundreds of thousands of steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Weights

LAST = "head.linear2"  # of core/lower.py: [1, C, 1] and [1]


@dataclass(frozen=True)
class Standardized:
    """(value - mean) / std. A loss in these units is the share of the returns' variance that is not explained."""

    mean: float
    std: float

    @classmethod
    def of(cls, returns: NDArray) -> Standardized:
        """Mean and deviation of ``returns [W]``; a constant gets deviation 1."""
        returns = np.asarray(returns, np.float64)
        return cls(float(returns.mean()), float(returns.std()) or 1.0)

    def done(self, returns: NDArray) -> NDArray[np.float32]:
        """Returns ``[W]`` to what the network learns, float32."""
        return ((np.asarray(returns, np.float64) - self.mean) / self.std).astype(np.float32)

    def undone(self, value: Weights) -> Weights:
        """A value network that learned standardised returns, as one whose output is the return."""
        arrays = dict(value.arrays)
        for name, shift in ((f"{LAST}.weight", 0.0), (f"{LAST}.bias", self.mean)):
            arrays[name] = (self.std * arrays[name].astype(np.float64) + shift).astype(np.float32)
        return Weights(value.spec, arrays)

    def redone(self, value: Weights) -> Weights:
        """The inverse of ``undone``: a value network whose output is the return, as one of standardised returns."""
        arrays = dict(value.arrays)
        for name, shift in ((f"{LAST}.weight", 0.0), (f"{LAST}.bias", self.mean)):
            arrays[name] = ((arrays[name].astype(np.float64) - shift) / self.std).astype(np.float32)
        return Weights(value.spec, arrays)
