"""From conditions to a ranked set of plans, and from a plan to an action."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import backends
from .backends.engine import Engine, Noise, Seeded
from .core.arrays import as_numbers
from .core.checkpoint import Checkpoint
from .core.conditions import Inpainting, parse_conditions
from .core.guidance import Guide
from .core.loop import Result, SamplingLoop, sampling_loop
from .core.noise import draw
from .core.samplers import step_table
from .core.scalars import whole
from .core.spelling import setting
from .settings import SETTINGS

GUIDED_BATCH = 64  # the original's
SEEDS = 2**64 - 1  # the largest
CLASSES = {"float32": "exact", "float64": "exact", "float32-close": "close"}
# Attributes of a Planner that belong to this process: a copy, here or in another, makes its own.
OF_THIS_PROCESS = ("_loops", "_engines", "_module")


@dataclass(frozen=True, eq=False)
class Plans:
    """Plans in physical units, best first; float32, C-contiguous, the caller's own.

    actions: ``[B, H, A]``; observations: ``[B, H, O]``; values: ``[B]``, zeros without a value network;
    latency_ms: wall time of the call; chain: ``[B, R + 1, H, D]`` (actions first) from noise to plan, or None;
    exactness: "exact", "close", "fast" or "approximate" (another sampler or fewer steps than trained);
    clipped: a condition lay beyond the limits of the data, and the plans hold the nearest values inside them.
    Planned for E situations at once, every array has a leading ``[E]``.
    """

    actions: NDArray[np.float32]
    observations: NDArray[np.float32]
    values: NDArray[np.float32]
    latency_ms: float
    exactness: str
    chain: NDArray[np.float32] | None = None
    clipped: bool = False


class Planner:
    """A checkpoint made ready to plan (Janner et al. 2022, algorithm 1, and section 3.3 without a guide).

    backend: "auto", "reference", "cpu", "triton" or "cuda". batch_size: B, candidate plans per call; None: 64 guided,
    else 1. horizon: H if not the trained one (unguided only). sampler: "ddpm", "ddim" or "dpm_solver_pp_2m"; n_steps:
    denoising steps of a strided sampler (None: all T); eta: of ddim. precision: "float32" (exact), or what the backend
    offers. guide: "auto" (the checkpoint's convention if it has a value network), None, or a ``Guide``. warm_start: k,
    so that ``act`` starts from its last plan, re-noised, and runs the last k denoising steps only. threads: of the CPU
    engine. cores: thread i of it stays on core ``cores[i]``, the caller's own thread being the first.
    seed: of the noise. clip_scope: whether a limits normaliser decides to clip per "plan", or for the "array" of all
    plans (as the original does).

    One Planner belongs to one thread at a time; several run side by side. Copied or pickled, it goes on where it was,
    on an engine of its own.
    """

    def __init__(
        self, checkpoint: Checkpoint, backend: str = "auto", batch_size: int | None = None, horizon: int | None = None,
        sampler: str = "ddpm", n_steps: int | None = None, precision: str = "float32",
        guide: Guide | str | None = "auto", warm_start: int | None = None, threads: int | None = None, seed: int = 0, *,
        device: str | None = None, cores: Sequence[int] | None = None, clip_scope: str = "plan",
        **sampler_options: float,
    ) -> None:  # fmt: skip
        if not isinstance(checkpoint, Checkpoint):
            raise TypeError(f"checkpoint: expected what load() returns, found {type(checkpoint).__name__}")
        if checkpoint.normalizers is None:
            cure = setting("normalizer", "'stats.json'", "stats.json", call="load(path, {})")
            raise ValueError(
                "checkpoint: it has no normaliser statistics (the original stores none with its weights); "
                f"`diffuser-fast stats DATASET -o stats.json` makes them from the data set, {cure} adds them"
            )
        if clip_scope not in ("plan", "array"):
            raise ValueError(f"clip_scope: found {clip_scope!r}, expected 'plan' or 'array'")
        self.checkpoint, self._clip_array = checkpoint, clip_scope == "array"
        guide = _guide(guide, checkpoint)
        steps = step_table(
            sampler, checkpoint.schedule, prediction=checkpoint.prediction, n_steps=n_steps, **sampler_options
        )
        self._steps, self._guide = steps, guide
        self.horizon = checkpoint.unet.spec.horizon if horizon is None else whole("horizon", horizon)
        self._loops: dict[int, SamplingLoop] = {}
        loop = self._loop(self.horizon)
        default = GUIDED_BATCH if guide else 1
        self.batch_size = default if batch_size is None else whole("batch_size", batch_size, 1)
        self.warm_start = None if warm_start is None else whole("warm_start", warm_start, 1, steps.rows)
        self.backend = backends.choose(SETTINGS.backend or backend if backend == "auto" else backend, loop, device)
        self._module = backends.get(self.backend)
        self._options = {
            "device": device, "precision": precision,
            "threads": SETTINGS.threads if threads is None else whole("threads", threads, 1),
        }  # fmt: skip
        if cores is not None:
            if self.backend != "cpu":
                raise ValueError(f"cores: only the cpu backend pins its threads, found backend {self.backend!r}")
            self._options["cores"] = [whole("cores", core, 0) for core in cores]
        as_trained = sampler == "ddpm" and steps.rows == checkpoint.schedule.n_steps
        self.exactness = CLASSES.get(precision, "fast") if as_trained else "approximate"
        self._engines: dict[tuple[int, int], Engine] = {}
        self._engine(self.batch_size, self.horizon)  # whatever cannot be made ready is said now
        self.seed = whole("seed", seed, 0, SEEDS)
        self._warned = False
        self.reset()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in OF_THIS_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._loops, self._engines, self._module = {}, {}, backends.get(self.backend)
        self._engine(self.batch_size, self.horizon)

    @property
    def loop(self) -> SamplingLoop:
        """What the engine runs, at the planner's own horizon."""
        return self._loop(self.horizon)

    @property
    def engine(self) -> Engine:
        """What runs it, at the planner's own batch size and horizon."""
        return self._engine(self.batch_size, self.horizon)

    @property
    def threads(self) -> int | None:
        """CPU threads asked for; None leaves it to the engine."""
        return self._options["threads"]

    def reset(self, seed: int | None = None) -> None:
        """Start an episode anew: the next plan is number 0 of ``seed`` (None: the seed there was)."""
        if seed is not None:
            self.seed = whole("seed", seed, 0, SEEDS)
        self._calls = 0
        self._last: NDArray[np.float32] | None = None  # [E, H, D], normalised: the best plan of each situation

    def plan(
        self, conditions: Mapping[int, Any], noise: ArrayLike | None = None, return_chain: bool = False,
        *, batch_size: int | None = None, horizon: int | None = None, warm: bool = False,
    ) -> Plans:  # fmt: skip
        """Plan under conditions, ``{time: observation}`` in physical units.

        conditions: ``{t: [O]}``, ``{t: {dim: value}}`` for some dimensions only, or ``[E, O]`` values for E situations
        at once. noise: None draws from (seed, number of this call); or a tape float32 ``[R + 1, B, H, D]`` (``[R + 1,
        E, B, H, D]``). batch_size, horizon: of this call only. warm: start from the last plan, moved on by
        one step, as ``act`` does with ``warm_start``. Errors name the condition and what is wrong with it.
        """
        if warm and self.warm_start is None:
            raise ValueError("warm: the planner was made without warm_start, the number of denoising steps to run")
        count = self.batch_size if batch_size is None else whole("batch_size", batch_size, 1)
        horizon = self.horizon if horizon is None else whole("horizon", horizon)
        return self._plan(conditions, noise, return_chain, count, horizon, warm=warm)

    def act(self, obs: ArrayLike, conditions: Mapping[int, Any] | None = None) -> NDArray[np.float32]:
        """First action ``[A]`` of the best plan from ``obs [O]``, given further ``conditions`` if any.

        It plans anew each time; with ``warm_start = k`` all but the first call run only the last k denoising steps,
        from the last plan moved on by one step.
        """
        obs = as_numbers("obs", obs)
        if obs.shape != (self.checkpoint.observation_dim,):
            raise ValueError(f"obs: expected shape [{self.checkpoint.observation_dim}], found {list(obs.shape)}")
        if conditions and 0 in conditions:
            raise ValueError("conditions: time 0 is obs")
        given = {0: obs, **(conditions or {})}
        warm = self.warm_start is not None
        return self._plan(given, None, False, self.batch_size, self.horizon, warm=warm).actions[0, 0].copy()

    def _plan(
        self, conditions: Mapping[int, Any], noise: ArrayLike | None, return_chain: bool, batch_size: int, horizon: int,
        *, warm: bool,
    ) -> Plans:  # fmt: skip
        began = time.perf_counter()
        self._loop(horizon)  # a horizon the networks cannot take is said before anything else
        inpainting, situations = parse_conditions(conditions, horizon, self.checkpoint.normalizers)
        if inpainting.clipped and not self._warned:
            self._warned = True
            told = "plans hold the nearest value inside them (said once; `clipped` marks the plans of every such call)"
            warnings.warn(f"{inpainting.clipped[0]}: {told}", stacklevel=3)
        count = batch_size * (situations or 1)
        source = self._noise(noise, situations, batch_size, horizon)
        start, x = 0, None
        if warm and self._last is not None:
            start, x = self._warm_start(source, situations or 1, batch_size, horizon)
        values = inpainting.values
        values = values if len(values) == 1 else np.repeat(values, batch_size, axis=0)
        result = self._engine(count, horizon)(
            Inpainting(inpainting.mask, values), source, x=x, start=start, candidates=batch_size, chain=return_chain
        )
        if not np.isfinite(result.values).all():
            last = self._steps.rows - 1
            raise FloatingPointError(
                f"denoising step {last} (t = {self._steps.t[last]}): the value of a plan is not finite"
            )
        plans = self._ranked(result, situations, batch_size)
        if noise is None:
            self._calls += 1
        took = (time.perf_counter() - began) * 1e3
        return Plans(*plans[:3], took, self.exactness, plans[3], clipped=bool(inpainting.clipped))

    def _ranked(self, result: Result, situations: int | None, batch_size: int) -> tuple[NDArray | None, ...]:
        """Actions, observations, values and chain: physical, sorted, ``[E]`` first if there were situations."""
        lead = (situations or 1, batch_size)
        order = result.order.reshape(lead)

        def sort(array: NDArray) -> NDArray:
            array = array.reshape(*lead, *array.shape[1:])
            array = np.take_along_axis(array, order.reshape(*lead, *[1] * (array.ndim - 2)), axis=1)
            return array if situations else array[0]

        best = sort(result.x)
        self._last = best.reshape(*lead, *best.shape[-2:])[:, 0].copy()
        actions, observations = self._physical(best)
        chain = None
        if result.chain is not None:
            chain = np.concatenate(self._physical(sort(result.chain)), axis=-1)
        return actions, observations, np.ascontiguousarray(sort(result.values), np.float32), chain

    def _physical(self, x_n: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        split, normalizers = self.checkpoint.action_dim, self.checkpoint.normalizers
        return tuple(
            np.ascontiguousarray(field.unnormalize(part, whole_array=self._clip_array), np.float32)
            for field, part in (
                (normalizers.actions, x_n[..., :split]),
                (normalizers.observations, x_n[..., split:]),
            )
        )

    def _noise(self, noise: ArrayLike | None, situations: int | None, batch_size: int, horizon: int) -> Noise:
        if noise is None:
            return Seeded(self.seed, self._calls)
        tape = np.ascontiguousarray(as_numbers("noise", noise, np.float32, finite=False))
        lead = (situations, batch_size) if situations else (batch_size,)
        expected = (self._steps.rows + 1, *lead, horizon, self.checkpoint.unet.spec.transition_dim)
        if tape.shape != expected:
            raise ValueError(f"noise: expected a tape of shape {list(expected)}, found {list(tape.shape)}")
        if not np.isfinite(tape).all():
            raise ValueError("noise: the tape holds numbers that are not finite")
        return tape.reshape(expected[0], -1, *expected[-2:])

    def _warm_start(
        self, source: Noise, situations: int, batch_size: int, horizon: int
    ) -> tuple[int, NDArray[np.float32]]:
        """The last best plans, moved on by one step and noised to the entry of denoising step R - k.

        Ho et al. 2020, equation 4. At another horizon they are cut short, or their last state is held.
        """
        if len(self._last) != situations:
            raise ValueError(f"warm: the last plan was for {len(self._last)} situations, this one is for {situations}")
        start, steps = self._steps.rows - self.warm_start, self._steps
        times = np.minimum(np.arange(1, horizon + 1), self._last.shape[1] - 1)
        ahead = self._last[:, times].repeat(batch_size, axis=0)
        noise = source[0] if isinstance(source, np.ndarray) else draw(source.seed, source.plan, 0, *ahead.shape)
        return start, (steps.sqrt_abar[start] * ahead + steps.sqrt_one_minus_abar[start] * noise).astype(np.float32)

    def _loop(self, horizon: int) -> SamplingLoop:
        if horizon not in self._loops:
            self._loops[horizon] = sampling_loop(self.checkpoint, self._steps, horizon=horizon, guide=self._guide)
        return self._loops[horizon]

    def _engine(self, batch: int, horizon: int) -> Engine:
        if (batch, horizon) not in self._engines:
            self._engines[batch, horizon] = self._module.ready(self._loop(horizon), batch=batch, **self._options)
        return self._engines[batch, horizon]


def _guide(guide: Guide | str | None, checkpoint: Checkpoint) -> Guide | None:
    if guide == "auto":
        return checkpoint.guide if checkpoint.value is not None else None
    if guide is not None and not isinstance(guide, Guide):
        raise TypeError(f"guide: expected 'auto', None or a Guide, found {guide!r}")
    return guide
