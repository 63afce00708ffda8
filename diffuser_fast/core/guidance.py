"""Guidance conventions -> columns of a StepTable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .samplers import StepTable
from .scalars import flag, real, shown, whole
from .spelling import named

# Of a denoising step: exp of half its posterior's standard deviation or variance; noise over signal, squared over once,
# which moves x0 as a gradient at x moves the noise that is in it (Dhariwal and Nichol 2021, algorithm 2).
FACTORS: dict[str, Callable[[StepTable], NDArray]] = {
    "exp_half_std": lambda steps: np.exp(0.5 * np.sqrt(steps.variance)),
    "exp_half_variance": lambda steps: np.exp(0.5 * steps.variance),
    "noise_over_signal": lambda steps: steps.sqrt_one_minus_abar**2 / steps.sqrt_abar,
}


@dataclass(frozen=True)
class Guide:
    """How the value network's gradient moves a plan (Janner et al. 2022, algorithm 1, as released).

    scale: multiplies the gradient. n_steps: gradient steps per denoising step, each at that step's own noise level,
    on x before the network sees it; 0 samples unguided and ranks by value. t_stopgrad: denoising steps with t below it
    are not guided.
    scale_by_variance: multiply by the posterior variance too (the original's ``scale_grad_by_std`` does this), to the
    power of ``variance_power``: 0.5 is the standard deviation, as in the original's locomotion branch and clones of
    it from before 17 October 2022.
    factor: another number of the denoising step to multiply by instead, one of ``FACTORS``. on: "x", or "x0": then the
    gradient at the step's input is added to x0 once, behind the network.
    """

    scale: float = 0.1
    n_steps: int = 2
    t_stopgrad: int = 2
    scale_by_variance: bool = True
    variance_power: float = 1.0
    factor: str | None = None
    on: str = "x"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", real("scale", self.scale))
        # Never negative: the last denoising step's variance is 0.
        object.__setattr__(self, "variance_power", real("variance_power", self.variance_power, 0))
        for name in ("n_steps", "t_stopgrad"):
            object.__setattr__(self, name, whole(named(f"guide.{name}"), getattr(self, name), 0))
        object.__setattr__(self, "scale_by_variance", flag("scale_by_variance", self.scale_by_variance))
        if self.factor is not None and (not isinstance(self.factor, str) or self.factor not in FACTORS):
            raise ValueError(f"factor: found {shown(self.factor)}, expected None or one of {', '.join(FACTORS)}")
        if self.on not in ("x", "x0"):
            raise ValueError(f"on: found {shown(self.on)}, expected 'x' or 'x0'")
        if self.on == "x0" and self.n_steps > 1:
            name = named("guide.n_steps")
            raise ValueError(f"{name}: found {self.n_steps}, expected at most 1 where the guide acts on x0")


def guided(steps: StepTable, guide: Guide) -> StepTable:
    """``steps`` with the guide's columns. Rows whose guidance update would be zero have no guide steps."""
    if guide.factor is not None:
        factor = FACTORS[guide.factor](steps)
    else:
        factor = steps.variance**guide.variance_power if guide.scale_by_variance else np.ones(steps.rows)
    moves = (steps.t >= guide.t_stopgrad) & (steps.q != 0)  # a row without the network moves nothing
    gain = np.where(moves, guide.scale * factor, 0.0)
    if guide.on == "x0":
        return replace(steps, g0=gain * min(guide.n_steps, 1))
    return replace(steps, gx=gain, guide_steps=np.where(gain != 0, guide.n_steps, 0))
