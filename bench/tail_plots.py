"""Pictures of tails: how many calls took longer than so much, and misses against budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def draw(
    path: str | Path, title: str, latencies: Mapping[str, np.ndarray],
    missed: Mapping[str, Sequence[tuple[float, float]]],
) -> None:  # fmt: skip
    """A PNG of milliseconds ``[calls]`` by name, and of (budget in per cent, late in per cent) by name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for name, ms in latencies.items():
        ordered = np.sort(ms)
        left.step(ordered, 1 - np.arange(len(ordered)) / len(ordered), where="post", label=name)
    left.set(xscale="log", yscale="log", xlabel="milliseconds", ylabel="share of calls that took longer", title=title)
    left.legend(fontsize=7)
    for name, points in missed.items():
        right.plot(*zip(*points, strict=True), "o-", label=name)
    right.set(xlabel="budget, % of a whole plan", ylabel="late, %", title="deadlines")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
