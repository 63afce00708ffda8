"""How an engine is judged: its error against float64, beside the error that the reference makes in the engine's dtype.

    err(engine, f64) <= factor * err(reference, f64) + tiny,   tiny = 8 * 2^-24 * max |f64|

for the root mean square and for the largest error, over all seeds together. No tolerance is anybody's choice: where the
numbers are hard (a variance of two elements, a long chain of guided steps), the reference errs too, and says how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

FACTORS = {"exact": 2.0, "close": 8.0}  # by exactness class; the others have no yardstick, they state their deviation
TINY = 8 * 2.0**-24  # of the largest number: four units in the last place of float32, for each side


@dataclass(frozen=True)
class Verdict:
    """rms, largest: the engine's error against float64. rms_allowed, largest_allowed: what its class permits.

    scale: the largest number there is, max |f64|. All are in the units of what was judged.
    """

    exactness: str
    rms: float
    rms_allowed: float
    largest: float
    largest_allowed: float
    scale: float

    @property
    def ratio(self) -> float:
        """The worse of the two errors as a multiple of what is allowed; infinite if a number is not finite."""
        return max(_over(self.rms, self.rms_allowed), _over(self.largest, self.largest_allowed))

    @property
    def passed(self) -> bool:
        """Whether the engine may claim its class."""
        return self.ratio <= 1

    def __str__(self) -> str:
        return (
            f"{'passed' if self.passed else 'FAILED'} as {self.exactness} at {self.ratio:.2f} of what is allowed: "
            f"rms {self.rms:.2e} of {self.rms_allowed:.2e}, largest {self.largest:.2e} of {self.largest_allowed:.2e}, "
            f"scale {self.scale:.2e}"
        )


def judge(
    engine: Sequence[ArrayLike], reference: Sequence[ArrayLike], exact: Sequence[ArrayLike], *, exactness: str = "exact"
) -> Verdict:
    """The verdict on one result, given for several seeds.

    engine, reference, exact: one array per seed, of equal shapes: from the engine, from the reference in the engine's
    dtype, from the reference in float64. ValueError on shapes that differ, on an exactness class without a yardstick,
    and if the reference's own numbers are not finite, for then there is nothing to judge by.
    """
    if exactness not in FACTORS:
        raise ValueError(f"exactness: found {exactness!r}, the yardstick is for {', '.join(FACTORS)}")
    truth, found, own = (_pooled(name, arrays, exact) for name, arrays in
                         (("exact", exact), ("engine", engine), ("reference", reference)))  # fmt: skip
    if not (np.isfinite(truth).all() and np.isfinite(own).all()):
        raise ValueError("reference: its own numbers are not finite")
    scale = float(np.abs(truth).max(initial=0))
    factor, tiny = FACTORS[exactness], TINY * scale
    rms, largest = _errors(found, truth)
    rms_own, largest_own = _errors(own, truth)
    return Verdict(exactness, rms, factor * rms_own + tiny, largest, factor * largest_own + tiny, scale)


def _pooled(name: str, arrays: Sequence[ArrayLike], exact: Sequence[ArrayLike]) -> np.ndarray:
    shapes, expected = [np.shape(a) for a in arrays], [np.shape(a) for a in exact]
    if shapes != expected or not shapes:
        raise ValueError(f"{name}: found arrays of shapes {shapes}, expected {expected}, one per seed")
    return np.concatenate([np.asarray(a, np.float64).ravel() for a in arrays])


def _errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    if not np.isfinite(found).all():
        return np.inf, np.inf
    error = np.abs(found - truth)
    return float(np.sqrt(np.mean(error**2))), float(error.max(initial=0))


def _over(error: float, allowed: float) -> float:
    return error / allowed if allowed else (np.inf if error else 0.0)
