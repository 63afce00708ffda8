"""A sampler is a table of numbers: schedule -> StepTable. The only place where sampler maths exists.

Denoising step k, row k of the table, takes x (at the noise of training step t) towards less noise:

    x0 = p x + q net(x, t);   x' = a clip(x0) + u x0 + b x + d previous_x0 + s noise

Sources: DDPM, Ho et al. 2020, equations 6, 7 and 15; DDIM, Song et al. 2021, equations 12 and 16;
DPM-Solver++(2M), Lu et al. 2022, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .scalars import flag, real, shown, whole
from .schedule import Schedule

ENGINE_COLUMNS = ("p", "q", "a", "b", "d", "s", "gx", "g0", "u")  # what an engine reads of a row, in C++ in this order
COLUMNS = ("p", "q", "a", "b", "d", "s", "variance", "sqrt_abar", "sqrt_one_minus_abar", "gx", "g0", "u", "seen")
GRIDS = ("linspace", "leading", "truncated")


@dataclass(frozen=True, eq=False)
class StepTable:
    """R rows, one per denoising step; columns are float64 ``[R]``, ``t`` and ``guide_steps`` int64 ``[R]``.

    t: the training step, which the network sees as ``seen`` (t itself, if the schedule has no other times). p, q: x0
    from x and the network. a, u, b, d, s: the update. A row whose q is 0 needs no network. first_noise: what the first
    noise is multiplied by, before x is inpainted.
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
    u: NDArray[np.float64] = field(default=None)
    seen: NDArray[np.float64] = field(default=None)
    guide_steps: NDArray[np.int64] = field(default=None)
    first_noise: float = 1.0

    def __post_init__(self) -> None:
        rows = len(self.t)
        for name in ("t", "guide_steps", *COLUMNS):
            kind = np.int64 if name in ("t", "guide_steps") else np.float64
            value = self.t if name == "seen" and self.seen is None else getattr(self, name)
            array = np.zeros(rows, kind) if value is None else np.array(np.broadcast_to(value, rows), kind)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def rows(self) -> int:
        """R, the number of denoising steps."""
        return len(self.t)

    def only(self, which: slice | list[int]) -> StepTable:
        """Some of the rows."""
        return replace(self, **{name: getattr(self, name)[which] for name in ("t", "guide_steps", *COLUMNS)})

    @staticmethod
    def joined(tables: Sequence[StepTable]) -> StepTable:
        """The rows of several tables, one after another."""
        names = ("t", "guide_steps", *COLUMNS)
        return replace(tables[0], **{name: np.concatenate([getattr(t, name) for t in tables]) for name in names})


@dataclass(frozen=True)
class Sampling:
    """How a checkpoint samples unless its caller says otherwise: a sampler's name and what it takes (``step_table``).

    n_steps: None, all T. final: one row more, which keeps x (clips it, if x0 is) and shows it to the guide at t = 0.
    """

    sampler: str = "ddpm"
    n_steps: int | None = None
    grid: str = "linspace"
    noise: float = 1.0
    first_noise: float = 1.0
    eta: float = 0.0
    direction: str = "clipped"
    floor: float = 0.0
    final: bool = False

    def __post_init__(self) -> None:
        _one_of("sampler", self.sampler, SAMPLERS)
        _one_of("grid", self.grid, GRIDS)
        _one_of("direction", self.direction, ("clipped", "unclipped"))
        object.__setattr__(self, "final", flag("final", self.final))
        if self.n_steps is not None:
            object.__setattr__(self, "n_steps", whole("n_steps", self.n_steps, 1))
        for name, most in (("noise", 1e6), ("first_noise", 1e6), ("eta", 1.0), ("floor", 1.0)):
            object.__setattr__(self, name, real(name, getattr(self, name), 0, most))

    def table(self, schedule: Schedule, prediction: str) -> StepTable:
        """Its rows."""
        own = {"ddim": {"eta": self.eta, "direction": self.direction, "floor": self.floor}}.get(self.sampler, {})
        return step_table(
            self.sampler, schedule, prediction=prediction, n_steps=self.n_steps, grid=self.grid, noise=self.noise,
            first_noise=self.first_noise, final=self.final, **own,
        )  # fmt: skip


def step_grid(n_train: int, n_steps: int | None, grid: str = "linspace") -> NDArray[np.int64]:
    """Training steps visited, from the noisiest down.

    "linspace": from T - 1 to 0, all of them or round(linspace(T - 1, 0, n)). "leading": multiples of T // n.
    "truncated": n + 1 of linspace(0, T - 1), cut to whole numbers; the last is where sampling ends, no row of its own.
    """
    _one_of("grid", grid, GRIDS)
    n = n_train if n_steps is None else whole("n_steps", n_steps, 1, n_train)  # no more than the training steps
    if grid == "leading":
        return np.arange(n)[::-1] * (n_train // n)
    if grid == "truncated":
        return np.linspace(0, n_train - 1, n + 1).astype(np.int64)[::-1].copy()
    return np.round(np.linspace(n_train - 1, 0, n)).astype(np.int64)


def ddpm(
    schedule: Schedule, *, prediction: str = "x0", n_steps: int | None = None, grid: str = "linspace"
) -> StepTable:
    """Ancestral sampling. All T steps use the schedule's posterior verbatim; fewer respace it."""
    t, abar, after = _grid(schedule, n_steps, grid)
    if len(t) == schedule.n_steps and grid != "truncated":
        a, b = schedule.posterior_mean_coef1[t], schedule.posterior_mean_coef2[t]
        variance = schedule.posterior_variance[t]
        s = np.exp(0.5 * schedule.posterior_log_variance_clipped[t])
    else:
        beta = 1 - abar / after
        a, b = beta * np.sqrt(after) / (1 - abar), (1 - after) * np.sqrt(1 - beta) / (1 - abar)
        variance = _posterior_variance(abar, after)
        s = np.sqrt(variance)
    s = np.where(np.arange(len(t)) == len(t) - 1, 0.0, s)  # the last noise is drawn and multiplied by zero
    return _table(schedule, t, prediction, a=a, b=b, d=0.0, s=s, variance=variance)


def ddim(
    schedule: Schedule, *, prediction: str = "x0", n_steps: int | None = None, eta: float = 0.0,
    grid: str = "linspace", direction: str = "clipped", floor: float = 0.0,
) -> StepTable:  # fmt: skip
    """DDIM; eta = 0 is deterministic, eta = 1 has DDPM's variance.

    direction: the noise that x is taken to hold follows from the "clipped" x0, or from the "unclipped" one. floor: is
    added to what is left of the noise's variance beside the new noise.
    """
    eta, floor = real("eta", eta, 0, 1), real("floor", floor, 0, 1)
    _one_of("direction", direction, ("clipped", "unclipped"))
    t, abar, after = _grid(schedule, n_steps, grid)
    variance = _posterior_variance(abar, after)
    s = eta * np.sqrt(variance)
    # x' = sqrt(after) x0 + c (x - sqrt(abar) x0) + s noise, where the second x0 may be the unclipped one
    c = np.sqrt(np.maximum(1 - after - s**2, 0) + floor) / np.sqrt(1 - abar)
    a, u = np.sqrt(after), -c * np.sqrt(abar)
    a, u = (a + u, 0.0) if direction == "clipped" else (a, u)
    s = np.where(np.arange(len(t)) == len(t) - 1, 0.0, s)
    return _table(schedule, t, prediction, a=a, u=u, b=c, d=0.0, s=s, variance=variance)


def ddim_path(schedule: Schedule, t: NDArray[np.int64], *, prediction: str = "x0") -> StepTable:
    """DDIM, eta = 0, from training step ``t[0]`` through the others to a clean plan."""
    abar = schedule.alphas_cumprod[t]
    after = np.append(abar[1:], 1.0)
    c = np.sqrt(1 - after) / np.sqrt(1 - abar)
    a = np.sqrt(after) - c * np.sqrt(abar)
    return _table(schedule, t, prediction, a=a, b=c, d=0.0, s=0.0, variance=_posterior_variance(abar, after))


def dpm_solver_pp_2m(
    schedule: Schedule, *, prediction: str = "x0", n_steps: int | None = None, grid: str = "linspace"
) -> StepTable:
    """DPM-Solver++(2M), multistep, deterministic. A grid that ends at t = 0 leaves noise: a clean step ends it."""
    t, abar, after = _grid(schedule, n_steps, grid)
    a, b, d = np.ones(len(t)), np.zeros(len(t)), np.zeros(len(t))  # a clean row: x' = x0
    previous = None
    for k in np.flatnonzero(after < 1):
        h = 0.5 * (np.log(after[k] / (1 - after[k])) - np.log(abar[k] / (1 - abar[k])))
        gain = -np.sqrt(after[k]) * np.expm1(-h)
        ratio = h / (2 * previous) if previous else 0.0
        a[k], d[k] = gain * (1 + ratio), -gain * ratio
        b[k] = np.sqrt(1 - after[k]) / np.sqrt(1 - abar[k])
        previous = h
    return _table(schedule, t, prediction, a=a, b=b, d=d, s=0.0, variance=_posterior_variance(abar, after))


SAMPLERS: dict[str, Callable[..., StepTable]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm_solver_pp_2m": dpm_solver_pp_2m,
}


def step_table(
    name: str, schedule: Schedule, *, prediction: str, n_steps: int | None, noise: float = 1.0,
    first_noise: float = 1.0, final: bool = False, grid: str = "linspace", **options: float | str,
) -> StepTable:  # fmt: skip
    """The table of a sampler by name; ``options`` are the sampler's own (``eta`` of ddim).

    noise, first_noise: what every row's noise and the first one are multiplied by. final: see ``Sampling``.
    """
    _one_of("sampler", name, SAMPLERS)
    if options and name != "ddim":
        raise ValueError(f"sampler: {name} takes no {', '.join(options)}")
    steps = SAMPLERS[name](schedule, prediction=prediction, n_steps=n_steps, grid=grid, **options)
    steps = replace(steps, s=steps.s * noise, first_noise=float(first_noise))
    return _and_final(steps) if final else steps


def _and_final(steps: StepTable) -> StepTable:
    """One row more: x0 = x, x' = x0, seen at t = 0."""
    last = {name: 0.0 for name in COLUMNS} | {"p": 1.0, "a": 1.0, "sqrt_abar": steps.sqrt_abar[-1]}
    last |= {"t": 0, "guide_steps": 0, "sqrt_one_minus_abar": steps.sqrt_one_minus_abar[-1]}
    return replace(steps, **{name: np.append(getattr(steps, name), value) for name, value in last.items()})


def _one_of(name: str, value: object, names: Collection[str]) -> None:
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name}: found {shown(value)}, expected one of {', '.join(names)}")


def _grid(schedule: Schedule, n_steps: int | None, grid: str) -> tuple[NDArray, NDArray, NDArray]:
    """Training steps of the rows, abar at each step's entry, and at its exit (1 after the last, if nothing is left)."""
    t = step_grid(schedule.n_steps, n_steps, grid)
    abar = schedule.alphas_cumprod[t]
    if grid == "truncated":
        return t[:-1], abar[:-1], abar[1:]
    return t, abar, np.append(abar[1:], 1.0)


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
    seen = t if schedule.times is None else schedule.times[t]
    return StepTable(t, p, q, sqrt_abar=np.sqrt(abar), sqrt_one_minus_abar=np.sqrt(1 - abar), seen=seen, **columns)
