"""Guidance conventions -> columns of a StepTable."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .samplers import StepTable
from .scalars import flag, real, whole


@dataclass(frozen=True)
class Guide:
    """How the value network's gradient moves a plan (Janner et al. 2022, algorithm 1, as released).

    scale: multiplies the gradient. n_steps: gradient steps per denoising step, each at that step's own noise level,
    on x before the network sees it; 0 samples unguided and ranks by value. t_stopgrad: denoising steps with t below it
    are not guided.
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
        object.__setattr__(self, "scale", real("scale", self.scale))
        # Never negative: the last denoising step's variance is 0.
        object.__setattr__(self, "variance_power", real("variance_power", self.variance_power, 0))
        for name in ("n_steps", "t_stopgrad"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 0))
        object.__setattr__(self, "scale_by_variance", flag("scale_by_variance", self.scale_by_variance))


def guided(steps: StepTable, guide: Guide) -> StepTable:
    """``steps`` with the guide's columns. Rows whose guidance update would be zero have no guide steps."""
    factor = steps.variance**guide.variance_power if guide.scale_by_variance else np.ones(steps.rows)
    gx = np.where(steps.t >= guide.t_stopgrad, guide.scale * factor, 0.0)
    return replace(steps, gx=gx, guide_steps=np.where(gx != 0, guide.n_steps, 0))
