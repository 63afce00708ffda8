"""What is said about latencies: percentiles, and the ratio of two medians with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Calls = Sequence[Sequence[float]]  # milliseconds of every call, repetition by repetition

# A percentile needs calls beyond it: with fewer it would only be the slowest one under another name.
FEWEST = {50: 1, 90: 10, 99: 100, 99.9: 1000, 99.99: 10_000}
DRAWS = 2000


@dataclass(frozen=True)
class Ratio:
    """value: median of ``a`` over median of ``b``. low, high: its 95 % bootstrap interval; None from one repetition."""

    value: float
    low: float | None
    high: float | None


def percentile(calls: Calls, q: float) -> float | None:
    """Over all calls of all repetitions, in their unit; None where there are too few calls to say."""
    found = pooled(calls)
    return float(np.percentile(found, q)) if len(found) >= FEWEST[q] else None


def latency(calls: Calls) -> dict[str, Any]:
    """The fields of a result that its calls make."""
    found = pooled(calls)
    quantiles = {f"p{q}_ms": percentile(calls, q) for q in (50, 90, 99)}
    return {"calls": len(found), "repetitions": len(calls), "min_ms": float(found.min()), **quantiles}


def ratio_of_medians(a: Calls, b: Calls, draws: int = DRAWS, seed: int = 0) -> Ratio:
    """How many times longer ``a`` takes than ``b``, both measured in the same repetitions.

    The bootstrap draws whole repetitions, the same for both sides: calls of one lie close together in time and share
    whatever disturbed it, so they are not independent and must not be drawn one by one (Efron and Tibshirani 1993,
    section 8.5, on blocks).
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"ratio: found {len(a)} and {len(b)} repetitions, expected as many of both, at least one")
    value = float(np.median(pooled(a)) / np.median(pooled(b)))
    if len(a) < 2:
        return Ratio(value, None, None)
    rng = np.random.default_rng(seed)
    ratios = np.empty(draws)
    for i in range(draws):
        chosen = rng.integers(0, len(a), len(a))
        ratios[i] = np.median(pooled([a[k] for k in chosen])) / np.median(pooled([b[k] for k in chosen]))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Ratio(value, float(low), float(high))


def pooled(calls: Calls) -> NDArray[np.float64]:
    """All calls of all repetitions, in order."""
    return np.concatenate([np.asarray(one, np.float64) for one in calls])
