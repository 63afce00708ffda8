"""Weights for Winograd's algorithm: five taps become 8 points, or 7 where a trajectory has no more than 4 rows.

What csrc/cpu/winograd.inl.h does with the input and with the sums is written there; the two files are one algorithm.
Sources: Winograd 1980, Arithmetic Complexity of Computations; Lavin and Gray 2016.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...core.program import Op, Program

TAPS = 5
WIDE = 16  # input channels: with fewer, more work goes into the transforms than is saved
TILE = 4  # outputs in time
TILES = 8  # a guided hopper plan of one trajectory took 2.2 times as long with fewer: its weights left the cache
SHORT = 4  # rows: up to these a trajectory is one tile, without neighbours
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)  # and infinity
SHORT_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)


def suits(op: Op, program: Program, batch: int) -> bool:
    """Whether this algorithm fits a convolution and gains by it: its weights are larger, so enough tiles must share
    them.
    """
    (channels, length), a = program.shapes[op.ins[0]], op.attrs
    fits = a["k"] == TAPS and a["stride"] == 1 and a["pad"] == TAPS // 2
    return fits and channels >= WIDE and length > 2 and batch * -(-length // TILE) >= TILES


def is_short(length: int) -> bool:
    """Whether trajectories of so many rows take the 7 points."""
    return length <= SHORT


def weights(weight: NDArray, short: bool) -> NDArray[np.float64]:
    """A correlation's ``[out, in, 5]`` (2 rows of padding) -> ``[out, in, points]``."""
    weight = np.asarray(weight, np.float64)
    if not short:
        return weight @ filters(POINTS).T
    padded = np.pad(weight, ((0, 0), (0, 0), (1, 1)))  # w_-1 .. w_5; d_n = w_5-n
    return padded[:, :, ::-1] @ data(SHORT_POINTS).T


def filters(points: tuple[float, ...]) -> NDArray[np.float64]:
    """G ``[points, 5]``: powers of each point over the product of its distances to the others; infinity last.

    The input's transform then has small whole and half numbers (B^T scaled by those products).
    """
    at = np.array(points)
    distances = [np.prod(a - np.delete(at, i)) for i, a in enumerate(at)]
    return np.vstack([at[:, None] ** np.arange(TAPS) / np.array(distances)[:, None], np.eye(TAPS)[-1]])


def data(points: tuple[float, ...]) -> NDArray[np.float64]:
    """B^T ``[points, points]``: the inverse of evaluating polynomials at the points, transposed; infinity last."""
    at = np.array(points)
    n = len(points) + 1
    evaluated = np.vstack([at[:, None] ** np.arange(n), np.eye(n)[-1]])
    return np.linalg.inv(evaluated).T
