"""What a precision rounds, and how large the error of a sum is when its roundings are as large as they can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from ..backends.cpu.algorithms import INT8_WIDE

Array = TypeVar("Array")  # of numpy or of torch: the formulas here are the same for both

# Unit roundoffs: the largest relative error of rounding to nearest, 2^-p with p significant bits.
FLOAT64, FLOAT32, TF32, FLOAT16, BFLOAT16 = (2.0**-p for p in (53, 24, 11, 11, 8))
ELEMENTARY = 2  # exp, log1p, tanh, ...: within a whole unit in the last place, two roundings, as good libraries are


@dataclass(frozen=True)
class Grid:
    """Whole numbers instead of floats, in convolutions with several taps and at least ``channels`` inputs.

    steps: of what enters, from the least to the greatest number of a sample (and zero); weights: steps from zero to an
    output channel's largest.
    """

    steps: int
    weights: int
    channels: int

    def holds(self, channels: int, k: int) -> bool:
        """Whether a convolution is one of those."""
        return channels >= self.channels and k > 1


@dataclass(frozen=True)
class Arithmetic:
    """Unit roundoffs; 0 where nothing is rounded.

    results: of every operation. sums: of what convolutions, matrix products, means and variances accumulate in.
    operands: to which the values that enter a convolution or a matrix product are rounded first. weights: to which
    convolutions' weights were rounded, once. grid: or both are whole numbers, where it holds.
    """

    results: float = FLOAT32
    sums: float = FLOAT32
    operands: float = 0.0
    weights: float = 0.0
    grid: Grid | None = None


ARITHMETIC = {
    "float64": Arithmetic(FLOAT64, FLOAT64),
    "float32": Arithmetic(),
    "float32-close": Arithmetic(),
    "tf32": Arithmetic(operands=TF32, weights=TF32),
    "fp16": Arithmetic(operands=FLOAT16, weights=FLOAT16),
    "bf16": Arithmetic(operands=BFLOAT16, weights=BFLOAT16),
    # Seven bits of what enters, as where pairs of products are added up in 16; with VNNI it is eight. Single taps
    # are of bfloat16, narrow inputs of float32: this has both in bfloat16.
    "int8": Arithmetic(operands=BFLOAT16, weights=BFLOAT16, grid=Grid(steps=127, weights=127, channels=INT8_WIDE)),
}  # by precision


def spread_of_sum(total: Array, squares: Array, terms: int) -> Array:
    """Standard deviation of a sum's rounding error, in units of the accumulator's roundoff.

    total: the sum; squares: the sum of its terms' squares. Terms are added one after another, and each of the partial
    sums P_1 .. P_n is rounded by +-u P_j: the variance is u^2 sum P_j^2. Partial sums of n like terms are a bridge from
    0 to the total, E P_j^2 = (j/n)^2 total^2 + (j/n)(1 - j/n) squares, which adds up to n (total^2 / 3 + squares / 6).
    (Higham, Mary 2019, A New Approach to Probabilistic Rounding Error Analysis: roundings as independent, of mean 0.)
    """
    return (terms * (total * total / 3 + squares / 6)) ** 0.5
