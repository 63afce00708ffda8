"""Noise schedules: how much of the trajectory is left at each training step.

Source: Nichol and Dhariwal 2021, equation 17 (cosine); Ho et al. 2020, equations 6 and 7 (posterior).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import as_numbers
from .scalars import whole

# The buffers of the original's GaussianDiffusion that a sampler needs.
BUFFERS = (
    "betas",
    "alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)


@dataclass(frozen=True, eq=False)
class Schedule:
    """T training steps; every array is float64 ``[T]``. The posterior is q(x_{t-1} | x_t, x_0).

    From a checkpoint these are its own float32 buffers, verbatim: recomputing them would differ in the last bits.
    times: what the network is told of each training step, if not its number (a continuous time).
    """

    betas: NDArray[np.float64]
    alphas_cumprod: NDArray[np.float64]
    sqrt_recip_alphas_cumprod: NDArray[np.float64]
    sqrt_recipm1_alphas_cumprod: NDArray[np.float64]
    posterior_variance: NDArray[np.float64]
    posterior_log_variance_clipped: NDArray[np.float64]
    posterior_mean_coef1: NDArray[np.float64]
    posterior_mean_coef2: NDArray[np.float64]
    times: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for name in BUFFERS + ("times",) * (self.times is not None):
            array = np.array(as_numbers(f"schedule: {name}", getattr(self, name), finite=False))
            if array.shape != np.shape(self.betas) or array.ndim != 1 or not np.isfinite(array).all():
                raise ValueError(f"schedule: {name} must be finite numbers of shape [T], found shape {array.shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if not ((self.alphas_cumprod > 0) & (self.alphas_cumprod <= 1)).all():
            raise ValueError("schedule: alphas_cumprod must lie in (0, 1]")

    @property
    def n_steps(self) -> int:
        """T, the number of training steps."""
        return len(self.betas)

    @classmethod
    def from_betas(cls, betas: NDArray) -> Schedule:
        """Everything else follows from the betas ``[T]``; log variances are clipped at log(1e-20)."""
        betas = np.asarray(betas, np.float64)
        return cls._derived(betas, 1 - betas, np.cumprod(1 - betas))

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: NDArray, times: NDArray | None = None) -> Schedule:
        """Everything else follows from what is left of the trajectory, ``[T]``, descending and below 1."""
        ac = as_numbers("schedule: alphas_cumprod", alphas_cumprod)
        if ac.ndim != 1 or not len(ac) or not ((ac > 0) & (ac < 1)).all() or (np.diff(ac) > 0).any():
            raise ValueError("schedule: alphas_cumprod must descend, inside (0, 1)")
        alphas = ac / np.append(1.0, ac[:-1])
        return cls._derived(1 - alphas, alphas, ac, times)

    @classmethod
    def _derived(cls, betas: NDArray, alphas: NDArray, ac: NDArray, times: NDArray | None = None) -> Schedule:
        previous = np.append(1.0, ac[:-1])
        variance = betas * (1 - previous) / (1 - ac)
        return cls(
            betas=betas,
            alphas_cumprod=ac,
            sqrt_recip_alphas_cumprod=np.sqrt(1 / ac),
            sqrt_recipm1_alphas_cumprod=np.sqrt(1 / ac - 1),
            posterior_variance=variance,
            posterior_log_variance_clipped=np.log(np.maximum(variance, 1e-20)),
            posterior_mean_coef1=betas * np.sqrt(previous) / (1 - ac),
            posterior_mean_coef2=(1 - previous) * np.sqrt(alphas) / (1 - ac),
            times=times,
        )

    @classmethod
    def from_buffers(cls, buffers: Mapping[str, NDArray]) -> Schedule:
        """A checkpoint's buffers, verbatim; ValueError names those that are missing."""
        missing = [name for name in BUFFERS if name not in buffers]
        if missing:
            raise ValueError(f"schedule: buffers {missing} are missing")
        return cls(**{name: buffers[name] for name in BUFFERS}, times=buffers.get("times"))


def cosine(n_steps: int, s: float = 0.008) -> Schedule:
    """The cosine schedule over ``n_steps`` training steps, betas at most 0.999 (the original's)."""
    n_steps = whole("n_steps", n_steps, 1)
    # The original spaces n + 1 points over [0, n + 1]: the same as the usual i / n.
    x = np.linspace(0, n_steps + 1, n_steps + 1)
    ac = np.cos((x / (n_steps + 1) + s) / (1 + s) * np.pi / 2) ** 2
    return Schedule.from_betas(np.clip(1 - ac[1:] / ac[:-1], 0, 0.999))
