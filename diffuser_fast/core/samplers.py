"""A sampler is a table of numbers: schedule -> StepTable. The only place where sampler maths exists.

Denoising step k, row k of the table, takes x (at the noise of training step t) towards less noise:

    x0 = p x + q net(x, t);   x0 = clip(x0);   x' = a x0 + b x + d previous_x0 + s noise

Sources: DDPM, Ho et al. 2020, equations 6, 7 and 15; DDIM, Song et al. 2021, equations 12 and 16;
DPM-Solver++(2M), Lu et al. 2022, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .scalars import real, whole
from .schedule import Schedule

ENGINE_COLUMNS = ("p", "q", "a", "b", "d", "s", "gx", "g0")  # what an engine reads of a row, in C++ in this order
COLUMNS = ("p", "q", "a", "b", "d", "s", "variance", "sqrt_abar", "sqrt_one_minus_abar", "gx", "g0")


@dataclass(frozen=True, eq=False)
class StepTable:
    """R rows, one per denoising step; columns are float64 ``[R]``, ``t`` and ``guide_steps`` int64 ``[R]``.

    t: the step the network sees. p, q: x0 from x and the network. a, b, d, s: the update.
    variance: of the posterior of this (respaced) transition. sqrt_abar, sqrt_one_minus_abar: of x at entry of the step,
    for warm starts. Guidance (see guidance.py): ``guide_steps`` times x += gx * dvalue/dx before the network;
    x0 += g0 * dvalue/dx after it.
    """

    t: NDArray[np.int64]
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    d: NDArray[np.float64]
    s: NDArray[np.float64]
    variance: NDArray[np.float64]
    sqrt_abar: NDArray[np.float64]
    sqrt_one_minus_abar: NDArray[np.float64]
    gx: NDArray[np.float64] = field(default=None)
    g0: NDArray[np.float64] = field(default=None)
    guide_steps: NDArray[np.int64] = field(default=None)

    def __post_init__(self) -> None:
        rows = len(self.t)
        for name in ("t", "guide_steps", *COLUMNS):
            kind = np.int64 if name in ("t", "guide_steps") else np.float64
            value = getattr(self, name)
            array = np.zeros(rows, kind) if value is None else np.array(np.broadcast_to(value, rows), kind)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def rows(self) -> int:
        """R, the number of denoising steps."""
        return len(self.t)


def step_grid(n_train: int, n_steps: int | None) -> NDArray[np.int64]:
    """Training steps visited, from T - 1 down to 0: all of them, or round(linspace(T - 1, 0, n))."""
    n = n_train if n_steps is None else whole("n_steps", n_steps, 1, n_train)  # no more than the training steps
    return np.round(np.linspace(n_train - 1, 0, n)).astype(np.int64)


def ddpm(schedule: Schedule, *, prediction: str = "x0", n_steps: int | None = None) -> StepTable:
    """Ancestral sampling. All T steps use the schedule's posterior verbatim; fewer respace it."""
    t = step_grid(schedule.n_steps, n_steps)
    if len(t) == schedule.n_steps:
        a, b = schedule.posterior_mean_coef1[t], schedule.posterior_mean_coef2[t]
        variance = schedule.posterior_variance[t]
        s = np.exp(0.5 * schedule.posterior_log_variance_clipped[t])
    else:
        abar, after = _abar_pairs(schedule, t)
        beta = 1 - abar / after
        a, b = beta * np.sqrt(after) / (1 - abar), (1 - after) * np.sqrt(1 - beta) / (1 - abar)
        variance = _posterior_variance(abar, after)
        s = np.sqrt(variance)
    s = np.where(np.arange(len(t)) == len(t) - 1, 0.0, s)  # the last noise is drawn and multiplied by zero
    return _table(schedule, t, prediction, a=a, b=b, d=0.0, s=s, variance=variance)


def ddim(schedule: Schedule, *, prediction: str = "x0", n_steps: int | None = None, eta: float = 0.0) -> StepTable:
    """DDIM; eta = 0 is deterministic, eta = 1 has DDPM's variance."""
    eta = real("eta", eta, 0, 1)
    t = step_grid(schedule.n_steps, n_steps)
    abar, after = _abar_pairs(schedule, t)
    variance = _posterior_variance(abar, after)
    s = eta * np.sqrt(variance)
    # x' = sqrt(after) x0 + c (x - sqrt(abar) x0) + s noise
    c = np.sqrt(np.maximum(1 - after - s**2, 0)) / np.sqrt(1 - abar)
    return _table(schedule, t, prediction, a=np.sqrt(after) - c * np.sqrt(abar), b=c, d=0.0, s=s, variance=variance)


def dpm_solver_pp_2m(schedule: Schedule, *, prediction: str = "x0", n_steps: int | None = None) -> StepTable:
    """DPM-Solver++(2M), multistep, deterministic. Its grid ends at t = 0, which leaves noise: a clean step ends it."""
    t = step_grid(schedule.n_steps, n_steps)
    abar, after = _abar_pairs(schedule, t)
    a, b, d = np.ones(len(t)), np.zeros(len(t)), np.zeros(len(t))  # the last row: x' = x0
    log_snr = 0.5 * np.log(abar / (1 - abar))
    previous = None
    for k in range(len(t) - 1):
        h = log_snr[k + 1] - log_snr[k]
        gain = -np.sqrt(abar[k + 1]) * np.expm1(-h)
        ratio = 0.0 if previous is None else h / (2 * previous)
        a[k], d[k] = gain * (1 + ratio), -gain * ratio
        b[k] = np.sqrt(1 - abar[k + 1]) / np.sqrt(1 - abar[k])
        previous = h
    return _table(schedule, t, prediction, a=a, b=b, d=d, s=0.0, variance=_posterior_variance(abar, after))


SAMPLERS: dict[str, Callable[..., StepTable]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm_solver_pp_2m": dpm_solver_pp_2m,
}


def step_table(name: str, schedule: Schedule, *, prediction: str, n_steps: int | None, **options: float) -> StepTable:
    """The table of a sampler by name; ``options`` are the sampler's own (``eta`` of ddim)."""
    if name not in SAMPLERS:
        raise ValueError(f"sampler: found {name!r}, expected one of {', '.join(SAMPLERS)}")
    if options and name != "ddim":
        raise ValueError(f"sampler: {name} takes no {', '.join(options)}")
    return SAMPLERS[name](schedule, prediction=prediction, n_steps=n_steps, **options)


def _abar_pairs(schedule: Schedule, t: NDArray) -> tuple[NDArray, NDArray]:
    """abar at each step's entry, and at its exit (1 after the last)."""
    abar = schedule.alphas_cumprod[t]
    return abar, np.append(abar[1:], 1.0)


def _posterior_variance(abar: NDArray, after: NDArray) -> NDArray:
    return (1 - after) / (1 - abar) * (1 - abar / after)


def _table(schedule: Schedule, t: NDArray, prediction: str, **columns: NDArray | float) -> StepTable:
    if prediction == "x0":
        p, q = 0.0, 1.0
    elif prediction == "epsilon":
        p, q = schedule.sqrt_recip_alphas_cumprod[t], -schedule.sqrt_recipm1_alphas_cumprod[t]
    else:
        raise ValueError(f"prediction: found {prediction!r}, expected 'x0' or 'epsilon'")
    abar = schedule.alphas_cumprod[t]
    return StepTable(t, p, q, sqrt_abar=np.sqrt(abar), sqrt_one_minus_abar=np.sqrt(1 - abar), **columns)
