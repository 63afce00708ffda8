"""How large an engine's error against float64 may be: a multiple of the error that its precision implies.

What is implied is measured, once, from the computation alone (monte_carlo.py): the float64 reference is evaluated again
with every rounding of the precision thrown at its full size, in several copies. Then

    rms(engine - float64) <= multiple * rms(copies - float64)
    max(engine - float64) <= multiple * max(copies - float64)

over all that is judged together, usually the same case from several seeds, the errors of each in units of what is
implied for it: else the hardest seed alone would be judged. No tolerance is anybody's choice, and none depends on how
some kernel of some machine happens to round: where numbers are hard (a variance of two elements, a long chain of guided
steps), the copies part as well, and say how far; where nothing is rounded (a slice, what is given of a trajectory),
nothing is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arithmetic import FLOAT32

# By exactness class. exact and fast compute as the reference does, in their precisions; close in float32 by algorithms
# with fewer products (Winograd's, three TF32 products for one), which are allowed to lose a bit more.
MULTIPLES = {"exact": 2.0, "close": 4.0, "fast": 2.0}


@dataclass(frozen=True, eq=False)
class Implied:
    """exact: float64, of any shape; errors: ``[copies, *that shape]``, those that the precision implies."""

    exact: NDArray[np.float64]
    errors: NDArray[np.float64]

    @property
    def largest(self) -> float:
        """The largest of the errors."""
        return float(np.abs(self.errors).max(initial=0))

    def __getitem__(self, index: Any) -> Implied:
        """A part of it."""
        return Implied(self.exact[index], np.stack([one[index] for one in self.errors]))

    def mapped(self, function: Callable[[NDArray], NDArray], unit: float = FLOAT32) -> Implied:
        """What is implied for ``function(result)``, computed in float64 and rounded once, to this unit roundoff."""
        exact = function(self.exact)
        errors = np.stack([function(self.exact + error) - exact for error in self.errors])
        return Implied(exact, errors + unit * exact * np.random.default_rng(0).choice([-1, 1], errors.shape))


@dataclass(frozen=True)
class Verdict:
    """rms, largest: the engine's error against float64. rms_allowed, largest_allowed: what its class permits.

    scale: the largest number there is, max |f64|. All are in the units of what was judged; of several seeds each error
    counts as if what is implied for its seed were what is implied for all.
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
    engine: ArrayLike | Sequence[ArrayLike], implied: Implied | Sequence[Implied], *, exactness: str = "exact",
    sides: int = 1,
) -> Verdict:  # fmt: skip
    """The verdict on one result, or on the same result of several seeds together.

    engine: an array as ``implied.exact``, or one for each seed. implied: for the precision that was asked for. sides: 2
    for results in float64, beside which the exact ones are no more exact: each side may err by what is allowed.
    ValueError on shapes that differ, on an unknown exactness class, and if what is implied is not finite, for then
    there is nothing to judge by.
    """
    if exactness not in MULTIPLES:
        raise ValueError(f"exactness: found {exactness!r}, there are bounds for {', '.join(MULTIPLES)}")
    engine, implied = ([engine], [implied]) if isinstance(implied, Implied) else (engine, implied)
    shapes, expected = [np.shape(a) for a in engine], [one.exact.shape for one in implied]
    if shapes != expected or not shapes:
        raise ValueError(f"engine: found arrays of shapes {shapes}, expected {expected}, one per seed")
    off = [np.asarray(a, np.float64) - one.exact for a, one in zip(engine, implied, strict=True)]
    errors, exact = _flat([one.errors for one in implied]), _flat([one.exact for one in implied])
    if not (np.isfinite(exact).all() and np.isfinite(errors).all()):
        raise ValueError("implied: its own numbers are not finite")
    whole, each = _sizes(errors)[0], [_sizes(one.errors)[0] for one in implied]

    def sizes(errors: Sequence[NDArray]) -> tuple[float, float]:
        return _sizes(_flat([_like(whole, size, one) for size, one in zip(each, errors, strict=True)]))

    rms_allowed, largest_allowed = (sides * MULTIPLES[exactness] * size for size in sizes([i.errors for i in implied]))
    rms, largest = sizes(off) if np.isfinite(_flat(off)).all() else (np.inf, np.inf)
    return Verdict(exactness, rms, rms_allowed, largest, largest_allowed, float(np.abs(exact).max(initial=0)))


def _like(whole: float, size: float, errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors of a seed for which ``size`` is implied, as of one for which ``whole`` is; endless where nothing is."""
    return errors * (whole / size) if size else np.where(errors, np.inf, 0.0)


def _flat(arrays: Sequence[ArrayLike]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(a, np.float64).ravel() for a in arrays])


def _sizes(errors: NDArray[np.float64]) -> tuple[float, float]:
    """Root mean square and largest."""
    return float(np.sqrt(np.mean(errors**2))) if errors.size else 0.0, float(np.abs(errors).max(initial=0))


def _over(error: float, allowed: float) -> float:
    return error / allowed if allowed else (np.inf if error else 0.0)
