"""Guidance conventions -> columns of a StepTable."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .samplers import StepTable


@dataclass(frozen=True)
class Guide:
    """How the value network's gradient moves a plan (Janner et al. 2022, algorithm 1, as released).

    scale: multiplies the gradient. n_steps: gradient steps per row, each at the row's own noise level, on x before
    the network sees it; 0 samples unguided and ranks by value. t_stopgrad: rows with t below it are not moved.
    scale_by_variance: multiply by the posterior variance too (the original's ``scale_grad_by_std`` does this), to the
    power of ``variance_power``: 0.5 is the standard deviation, as in the original's locomotion branch and clones of
    it from before 17 October 2022.
    """

    scale: float = 0.1
    n_steps: int = 2
    t_stopgrad: int = 2
    scale_by_variance: bool = True
    variance_power: float = 1.0

    def __post_init__(self) -> None:
        for name in ("scale", "variance_power"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"Guide: {name} must be a finite number, found {value!r}")
        if self.variance_power < 0:  # the last denoising step's variance is 0
            raise ValueError(f"Guide: variance_power must be at least 0, found {self.variance_power!r}")
        for name in ("n_steps", "t_stopgrad"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise ValueError(f"Guide: {name} must be a whole number, at least 0, found {value!r}")


def guided(steps: StepTable, guide: Guide) -> StepTable:
    """``steps`` with the guide's columns. Rows it does not move have no guide steps: their guide is a no-op."""
    factor = steps.variance**guide.variance_power if guide.scale_by_variance else np.ones(steps.rows)
    gx = np.where(steps.t >= guide.t_stopgrad, guide.scale * factor, 0.0)
    return replace(steps, gx=gx, guide_steps=np.where(gx != 0, guide.n_steps, 0))
