"""From conditions to a ranked set of plans, and from a plan to an action."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import backends
from ..backends.engine import Engine, Schedule, Seeded
from ..core.arrays import as_numbers
from ..core.checkpoint import Checkpoint
from ..core.conditioning import asked_of, conditions_of, inpainting_of, tell
from ..core.conditions import Inpainting, no_inpainting
from ..core.cost import Cost
from ..core.guidance import Guide
from ..core.loop import PlanTables, Result, SamplingLoop, sampling_loop
from ..core.physical import Physical
from ..core.prefix import Prefix
from ..core.samplers import step_table
from ..core.scalars import real, whole, wholes
from ..core.spelling import setting
from ..settings import MOST_THREADS, SETTINGS
from .budget import LEARNT, LONGEST, Budget, Ended
from .plans import Calibration, Plans, Replay
from .presets import Settings, with_preset
from .start import Size, noised, other_noise, shifted, tape_of
from .turns import Turns

GUIDED_BATCH = 64  # the original's
MOST_PLANS = 2**20  # in one call, of one situation
SEEDS, NUMBERS = 2**64 - 1, 2**32 - 1  # the largest seed, and the largest number of a plan
LOOPS, ENGINES = 16, 4  # how many a planner keeps, for the horizons and sizes it was asked for last
CLASSES = {"float32": "exact", "float64": "exact", "float32-close": "close"}
# Attributes of a Planner that belong to this process: a copy, here or in another, makes its own.
OF_THIS_PROCESS = ("budget", "_loop", "_engine", "_physical", "_turns", "_working")


class Planner:
    """A checkpoint made ready to plan (Janner et al. 2022, algorithm 1, and section 3.3 without a guide).

    backend: "auto" (the cpu engine), "cpu", "triton", "reference" or "cuda". batch_size: B, candidate plans per call;
    None: 64 guided, else 1. horizon: H if not the trained one (unguided only). sampler: None (the checkpoint's own,
    the original's is "ddpm"), "ddpm", "ddim" or "dpm_solver_pp_2m"; n_steps: denoising steps of a strided sampler
    (None: all T, or the checkpoint's); eta: of ddim. precision: None or "float32"
    (exact), or what the backend offers. guide: "auto" (the checkpoint's convention if it has a value network), None, or
    a ``Guide``. warm_start: k, so that ``act`` starts from its last plan, re-noised, and runs the last k denoising
    steps only. threads: of the CPU engine. cores: thread i of it is on core ``cores[i]`` during a plan, the caller's
    own thread being the first.
    seed: of the noise. clip_scope: whether a limits normaliser decides to clip per "plan", or for the "array" of all
    plans (as the original does).
    cost: what plans shall keep low (``dfx.Cost``): the guide is the checkpoint's value network, if it has one, less the
    cost, and follows the gradient of both. launches: how the CUDA engine launches a plan, "stages", "loop",
    "cluster" or "async"; by default what its model prefers (docs/cuda.md).
    preset: "realtime", "balanced" or "paper", for checkpoints that have them: what it says of sampler, n_steps, eta,
    warm_start, batch_size, precision and guide stands where an argument is left out (presets.py, docs/paper.md).

    A Planner makes one plan at a time, for whichever thread asks; a second thread that asks meanwhile gets BusyError.
    Several Planners run side by side and share weights and the process's threads: who finds those taken works alone,
    with the same result. Ctrl-C and ``cancel`` end a plan between two denoising steps, and the next one may follow.
    Copied or pickled, a Planner goes on where it was, on an engine of its own.
    """

    def __init__(
        self, checkpoint: Checkpoint, backend: str = "auto", batch_size: int | None = None, horizon: int | None = None,
        sampler: str | None = None, n_steps: int | None = None, precision: str | None = None,
        guide: Guide | str | None = "auto", warm_start: int | None = None, threads: int | None = None, seed: int = 0, *,
        device: str | None = None, cores: Sequence[int] | None = None, clip_scope: str = "plan",
        cost: Cost | None = None, launches: str | None = None, preset: str | None = None,
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
        if cost is not None and not isinstance(cost, Cost):
            raise TypeError(f"cost: expected a Cost, found {type(cost).__name__}")
        given = Settings(batch_size, sampler, n_steps, precision, guide, warm_start, sampler_options)
        said, self.preset = with_preset(checkpoint, preset, given), preset
        batch_size, sampler, n_steps, sampler_options = said.batch_size, said.sampler, said.n_steps, said.options
        warm_start = said.warm_start
        self.cost, guide = cost, _guide(said.guide, checkpoint, cost)
        n_steps = None if n_steps is None else whole("n_steps", n_steps, 1, checkpoint.schedule.n_steps)
        own = sampler is None and n_steps in (None, checkpoint.sampling.n_steps) and not sampler_options
        if own:
            steps = checkpoint.sampling.table(checkpoint.schedule, checkpoint.prediction)
        elif sampler is None and not sampler_options:
            steps = replace(checkpoint.sampling, n_steps=n_steps).table(checkpoint.schedule, checkpoint.prediction)
        else:
            steps = step_table(
                sampler or "ddpm", checkpoint.schedule, prediction=checkpoint.prediction, n_steps=n_steps,
                **sampler_options,
            )  # fmt: skip
        self._steps, self._guide = steps, guide
        # A final row's clip is of the whole plan.
        self.clips_all = sampler is None and checkpoint.sampling.final and checkpoint.clip_denoised
        self.horizon = checkpoint.unet.spec.horizon if horizon is None else whole("horizon", horizon)
        loop = sampling_loop(checkpoint, steps, horizon=self.horizon, guide=guide, cost=cost)
        default = GUIDED_BATCH if guide else 1
        self.batch_size = default if batch_size is None else whole("batch_size", batch_size, 1, MOST_PLANS)
        self.warm_start = None if warm_start is None else whole("warm_start", warm_start, 1, steps.rows)
        self.backend = backends.choose(SETTINGS.backend or backend if backend == "auto" else backend, loop, device)
        if precision is None:  # a preset's is of the engine it was chosen on
            precision = said.precision if said.precision in backends.get(self.backend).PRECISIONS else "float32"
        self._options = {
            "device": device, "precision": precision,
            "threads": SETTINGS.threads if threads is None else whole("threads", threads, 1, MOST_THREADS),
        }  # fmt: skip
        if cores is not None:
            if "cores" not in backends.get(self.backend).OPTIONS:
                raise ValueError(f"cores: the {self.backend} backend has no threads to pin")
            self._options["cores"] = wholes("cores", cores, 0, 2**20)
        if launches is not None:
            if "launches" not in backends.get(self.backend).OPTIONS:
                raise ValueError(f"launches: the {self.backend} backend has one way of its own")
            self._options["launches"] = launches
        as_trained = own or (sampler in (None, "ddpm") and steps.rows == checkpoint.schedule.n_steps)
        self.exactness = CLASSES.get(precision, "fast") if as_trained else "approximate"
        self._make_ready(loop)
        self.seed = whole("seed", seed, 0, SEEDS)
        self._warned = False
        self.reset()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in OF_THIS_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        own = {"horizon": self.horizon, "guide": self._guide, "cost": self.cost}
        self._make_ready(sampling_loop(self.checkpoint, self._steps, **own))

    def _make_ready(self, own: SamplingLoop) -> None:
        """What belongs to this process. Whatever cannot be made ready is said now."""
        checkpoint, steps, guide, options = self.checkpoint, self._steps, self._guide, self._options
        module = backends.get(self.backend)

        @lru_cache(LOOPS)
        def loop(horizon: int) -> SamplingLoop:
            if horizon == own.horizon:
                return own
            return sampling_loop(checkpoint, steps, horizon=horizon, guide=guide, cost=self.cost, like=own)

        @lru_cache(ENGINES)
        def engine(batch: int, horizon: int) -> Engine:
            return module.ready(loop(horizon), batch=batch, **options)

        self._loop, self._engine = loop, engine
        self.budget = Budget(
            checkpoint, steps, guide, loop, lambda loop, batch: module.ready(loop, batch=batch, **options),
            deadline="deadline" in module.SCHEDULES,
        )  # fmt: skip
        self._physical = Physical(checkpoint, whole_array=self._clip_array)
        self._turns = Turns("planner")
        self._working: Engine | None = None
        self._engine(self.batch_size, self.horizon)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The planner for one call; BusyError if another has it."""
        with self._turns.taken():
            try:
                yield
            finally:
                self._working = None

    @property
    def loop(self) -> SamplingLoop:
        """What the engine runs, at the planner's own horizon."""
        return self._loop(self.horizon)

    @property
    def engine(self) -> Engine:
        """What runs it, at the planner's own batch size and horizon."""
        return self._engine(self.batch_size, self.horizon)

    def loop_at(self, horizon: int) -> SamplingLoop:
        """The same at another horizon; ValueError where the networks cannot take it."""
        return self._loop(whole("horizon", horizon))

    @property
    def precision(self) -> str:
        """Of the engine."""
        return self._options["precision"]

    @property
    def clip_scope(self) -> str:
        """What is clipped to the data's limits as a whole: a "plan", or the "array" of all plans."""
        return "array" if self._clip_array else "plan"

    @property
    def threads(self) -> int | None:
        """CPU threads asked for; None leaves it to the engine."""
        return self._options["threads"]

    @property
    def number(self) -> int:
        """Of the next plan that is drawn from the seed."""
        return self._number

    def reset(self, seed: int | None = None, *, number: int = 0) -> None:
        """Start an episode anew: the next plan is number ``number`` of ``seed`` (None: the seed there was)."""
        seed = self.seed if seed is None else whole("seed", seed, 0, SEEDS)
        number = whole("number", number, 0, NUMBERS)
        with self._held():
            self.seed, self._number = seed, number
            self._last: NDArray[np.float32] | None = None  # [E, H, D], normalised: the best plan of each situation
            self._seen: list[NDArray] = []  # observations, the newest last, as many as ``act`` looks at
            self._ahead: list[NDArray] = []  # actions of the last plan that ``act`` has still to give

    def cancel(self) -> None:
        """End the plan that another thread is waiting for after its denoising step: CancelledError there.

        Nothing happens if there is none. Engines that run a plan in one piece (Triton's) end it as usual.
        """
        if (engine := self._working) is not None:
            engine.cancel()

    def plan(
        self, conditions: Mapping[int, Any], noise: ArrayLike | None = None, return_chain: bool = False,
        *, condition: ArrayLike | None = None, batch_size: int | None = None, horizon: int | None = None,
        warm: bool = False, shift: int = 1, number: int | None = None, budget_ms: float | None = None,
        min_rows: int = 4, replay: Replay | None = None, prefix: Prefix | None = None,
    ) -> Plans:  # fmt: skip
        """Plan under conditions, ``{time: observation}`` in physical units.

        conditions: ``{t: [O]}``, ``{t: {dim: value}}`` for some dimensions only, or ``[E, O]`` values for E situations
        at once. noise: None draws from (seed, number of the plan); or a tape float32 ``[R + 1, B, H, D]`` (``[R + 1, E,
        B, H, D]``), which may end where no more is drawn. condition: what the network is conditioned on, if it takes a
        condition: the last observations in physical units, ``[history, O]``, the newest last (``[O]`` where it is one),
        or else its numbers ``[C]``; with a leading E for E situations. batch_size, horizon: of this call only. warm:
        start from the last plan, moved on by ``shift`` steps, as ``act`` does with ``warm_start``. Errors name the
        condition and what is wrong with it.

        budget_ms: the plan is back after so many milliseconds and one denoising step, if the thread is not descheduled
        (docs/real_time.md). It begins with the most that fits: all denoising steps, fewer of DDIM, fewer guide steps,
        down to ``min_rows``; where it gets late it takes fewer for the rest, and ends with a finished plan always. A
        warm start that not even one step fits into is the last plan, moved on, under the new conditions ("shifted").
        ``finish``, ``rows`` and ``deadline_met`` say what happened; ``replay`` makes it again, to the bit. At a new
        size the first such call measures what steps cost before its time begins; ``calibrate`` does it ahead.

        prefix: rows that are given, also of actions (``dfx.Prefix``); they come back exactly as they are.

        Plans are numbered from 0 as they are made, E situations at once taking E numbers in order: E in one call are
        the same plans as one call for each. number: that of the (first) plan instead, and the count is left alone; so a
        situation's noise may be addressed by what it is, whenever and beside whatever it is planned.
        """
        if warm and self.warm_start is None:
            raise ValueError("warm: the planner was made without warm_start, the number of denoising steps to run")
        count = self.batch_size if batch_size is None else whole("batch_size", batch_size, 1, MOST_PLANS)
        horizon = self.horizon if horizon is None else whole("horizon", horizon)
        if number is not None:
            number = whole("number", number, 0, NUMBERS)
            if noise is not None:
                raise ValueError("number: the noise is given, so there is nothing to draw")
        if prefix is not None and not isinstance(prefix, Prefix):
            raise TypeError(f"prefix: expected a Prefix, found {type(prefix).__name__}")
        shift = whole("shift", shift, 0, 2**31 - 1)
        timed = self._timed(budget_ms, min_rows, replay, noise is not None, return_chain, number)
        with self._held():
            return self._plan(
                conditions, noise, return_chain, count, horizon, condition=condition, warm=warm, number=number,
                shift=shift, timed=timed, replay=replay, prefix=prefix,
            )  # fmt: skip

    def calibrate(
        self, *, batch_size: int | None = None, horizon: int | None = None, period_ms: float = 0.0
    ) -> Calibration:
        """Measure what denoising steps cost at a size, so that the first plan with a budget need not.

        period_ms: the time between two plans in the loop that will be: after so long a rest caches are cold and clocks
        are low, so that a plan takes longer than in a tight loop. Returns what a whole plan costs, and the shortest
        budget that can be kept.
        """
        count = self.batch_size if batch_size is None else whole("batch_size", batch_size, 1)
        horizon = self.horizon if horizon is None else whole("horizon", horizon)
        period = real("period_ms", period_ms, 0)
        self._timed(1.0, 1, None, False, False, None)
        net, depth = self.budget.loop(horizon).denoiser, self.checkpoint.unet.spec.transition_dim
        tables = None
        if net.condition is not None:
            tables = PlanTables(net.conditioned(np.zeros((count, net.condition.inputs), np.float32)))

        def run(engine: Engine, schedule: Schedule) -> None:
            engine(no_inpainting(horizon, depth), Seeded(0, 0), tables=tables, schedule=schedule)

        with self._held():
            costs, last = self.budget.costs(count, horizon, run, period * 1e-3), self._last
            asked = asked_of(self.checkpoint)
            until = time.perf_counter() + LONGEST
            for _ in range(LEARNT):  # what it takes beside its rows is learnt from whole plans, as late as can be
                time.sleep(period * 1e-3)
                self._plan({}, None, False, count, horizon, condition=asked, warm=False, number=0, timed=(1e-9, 1))
                if time.perf_counter() > until + LEARNT * period * 1e-3:
                    break
            self._last = last
            whole_plan = self.budget.menu.choices[0]
            everything = costs.plan(len(whole_plan.rows), whole_plan.guide_steps, "shared")
            row = int(costs.nanoseconds("shared").max())
            return Calibration(everything * 1e3, self.budget.least(costs) * 1e3, row * 1e-6)

    def _timed(
        self, budget_ms: float | None, min_rows: int, replay: Replay | None, tape: bool, chain: bool, number: int | None
    ) -> tuple[float, int] | None:
        """Seconds and rows, checked; None without a budget."""
        what = "budget_ms" if budget_ms is not None else "replay"
        if budget_ms is None and replay is None:
            return None
        if replay is not None and not isinstance(replay, Replay):
            raise TypeError(f"replay: expected Plans.replay, found {type(replay).__name__}")
        if replay is not None and (budget_ms is not None or number is not None):
            raise ValueError("replay: it says what is run and what noise is drawn; no budget_ms and no number with it")
        if tape:
            raise ValueError(f"noise: a tape is for all denoising steps, {what} chooses among them")
        if "rows" not in backends.get(self.backend).SCHEDULES:
            raise ValueError(f"{what}: the {self.backend} backend runs the rows that it was opened with; use 'cpu'")
        if budget_ms is None:
            return None
        if chain:
            raise ValueError("return_chain: not with budget_ms, for it is not known what will be run")
        return real("budget_ms", budget_ms, 0, 1e9) * 1e-3, whole("min_rows", min_rows, 1)

    def act(self, obs: ArrayLike, conditions: Mapping[int, Any] | None = None) -> NDArray[np.float32]:
        """The next action ``[A]``: the first of the best plan from ``obs [O]``, given further ``conditions`` if any.

        It plans anew each time; with ``warm_start = k`` all but the first call run only the last k denoising steps,
        from the last plan moved on by one step. A checkpoint whose plans are executed in parts (``Acting``) gives the
        actions of one after another, and looks at the last observations that ``act`` was given; ``reset`` forgets both.
        """
        obs, acting = as_numbers("obs", obs), self.checkpoint.acting
        if conditions is not None and not isinstance(conditions, Mapping):
            raise TypeError(f"conditions: expected {{time: observation}}, found {type(conditions).__name__}")
        if not self.checkpoint.executed_dim:
            raise ValueError("act: the plans hold observations and no actions; `plan` makes them")
        if obs.shape != (self.checkpoint.observation_dim,):
            raise ValueError(f"obs: expected shape [{self.checkpoint.observation_dim}], found {list(obs.shape)}")
        with self._held():
            seen = [*(self._seen or [obs] * (acting.history - 1)), obs][-acting.history :]
            if self._ahead:
                self._seen = seen
                return self._ahead.pop(0)
            if self.checkpoint.observes_condition:
                given, condition = conditions or {}, np.stack(seen)
            else:
                condition = None
                clash = [t for t in range(acting.history) if conditions and t in conditions]
                if clash:
                    raise ValueError(f"conditions: time {clash[0]} is obs")
                given = {**dict(enumerate(seen)), **(conditions or {})}
            plans = self._plan(
                given, None, False, self.batch_size, self.horizon, condition=condition,
                warm=self.warm_start is not None,
            )  # fmt: skip
            self._seen, (first, *self._ahead) = seen, (action.copy() for action in plans.actions[0, self.executed])
            return first

    @property
    def executed(self) -> slice:
        """Which times of a plan ``act`` executes before it makes the next one."""
        return slice(self.checkpoint.acting.first, self.checkpoint.acting.first + self.checkpoint.acting.steps)

    def _plan(
        self, conditions: Mapping[int, Any], noise: ArrayLike | None, return_chain: bool, batch_size: int, horizon: int,
        *, condition: ArrayLike | None = None, warm: bool, number: int | None = None, shift: int = 1,
        timed: tuple[float, int] | None = None, replay: Replay | None = None, prefix: Prefix | None = None,
    ) -> Plans:  # fmt: skip
        began = time.perf_counter()
        self._loop(horizon)  # a horizon the networks cannot take is said before anything else
        inpainting, situations = inpainting_of(self.checkpoint, conditions, horizon)
        if prefix is not None:
            inpainting, situations = prefix.freeze(inpainting, situations, self.checkpoint)
        conditioned, counted = conditions_of(self.checkpoint, condition)
        if None not in (situations, counted) and situations != counted:
            raise ValueError(f"condition: given for {counted} situations, conditions for {situations}")
        situations = counted if situations is None else situations
        inpainting, conditioned = tell(self.checkpoint, inpainting, conditioned)
        if inpainting.clipped and not self._warned:
            self._warned = True
            told = "plans hold the nearest value inside them (said once; `clipped` marks the plans of every such call)"
            warnings.warn(f"{inpainting.clipped[0]}: {told}", stacklevel=3)
        count = batch_size * (situations or 1)
        first = replay.number if replay is not None else self._number if number is None else number
        seed = self.seed if replay is None else replay.seed
        if noise is None and first + (situations or 1) - 1 > NUMBERS:
            raise ValueError(f"number: plans of a seed end with {NUMBERS}, found {first + (situations or 1) - 1}")
        spec = self.checkpoint.unet.spec
        size = Size(situations or 1, batch_size, horizon, spec.transition_dim, spec.given)
        source = Seeded(seed, first) if noise is None else tape_of(noise, self._steps, size, several=bool(situations))
        scheduled = timed is not None or (replay is not None and replay.rows is not None)
        loop, engine = (self.budget.loop, self.budget.engine) if scheduled else (self._loop, self._engine)
        self._working = engine(count, horizon)
        start, x, last = 0, None, replay.last if replay is not None else self._last if warm else None
        shift = replay.shift if replay is not None else shift
        if last is not None:
            start = self._steps.rows - self.warm_start
            x = noised(last, shift, self._steps, start, self._working, source, size)
        elif self._steps.first_noise != 1:
            x = other_noise(self._steps, self._working, source, size)
        tables = None
        if conditioned is not None:
            each = np.repeat(conditioned, count // len(conditioned), axis=0)
            tables = PlanTables(loop(horizon).denoiser.conditioned(each))
        values = inpainting.values
        values = values if len(values) == 1 else np.repeat(values, batch_size, axis=0)
        asked = Inpainting(inpainting.mask, values)
        call = partial(self._working, asked, source, x=x, tables=tables,
                       candidates=batch_size, chain=return_chain)  # fmt: skip
        ended = None
        if timed is not None:
            moved = None if last is None else partial(shifted, last, shift, asked, size)
            began, ended, result = self.budget.run(call, timed, count, horizon, start, began, moved)
        elif replay is not None and replay.finish == "shifted":
            ended, result = Ended("shifted", self._steps.t[:0], replay.rows), shifted(last, shift, asked, size)
        elif scheduled:
            result = call(schedule=Schedule(replay.rows, skipped=start))
            ended = self.budget.ended(replay.finish, result)
        else:
            result = call(start=start)
        if not np.isfinite(result.values).all():
            last = self._steps.rows - 1
            raise FloatingPointError(
                f"denoising step {last} (t = {self._steps.t[last]}): the value of a plan is not finite"
            )
        plans = self._ranked(result, situations, batch_size)
        if prefix is not None:
            prefix.restore(*plans[:2])
        if noise is None and number is None and replay is None:
            self._number += situations or 1
        rows = self._steps.t[start:] if ended is None else ended.rows
        finish = "full" if ended is None else ended.finish
        if noise is None:
            moved = None if last is None else last.copy()
            replay = Replay(seed, first, None if ended is None else ended.ran, moved, shift, finish)
        ready = time.perf_counter()
        took = ready - began
        if timed is not None:
            self.budget.answered(ready)
        return Plans(
            *plans[:3],
            latency_ms=took * 1e3,
            exactness="approximate" if start or finish != "full" else self.exactness,
            chain=plans[3],
            clipped=bool(inpainting.clipped),
            denoising_steps=len(rows),
            rows=rows,
            finish=finish,
            deadline_met=None if timed is None else took <= timed[0],
            replay=replay,
        )

    def _ranked(self, result: Result, situations: int | None, batch_size: int) -> tuple[NDArray | None, ...]:
        """Actions, observations, values and chain: physical, sorted, ``[E]`` first if there were situations."""
        lead = (situations or 1, batch_size)
        order = result.order.reshape(lead)
        if self.clips_all:  # what is given of the plan too, which denoising steps leave alone
            bound = self.checkpoint.clip_range
            chain = result.chain
            if chain is not None:
                chain = np.concatenate((chain[:, :-1], np.clip(chain[:, -1:], -bound, bound)), axis=1)
            result = replace(result, x=np.clip(result.x, -bound, bound), chain=chain)

        def sort(array: NDArray) -> NDArray:
            array = array.reshape(*lead, *array.shape[1:])
            array = np.take_along_axis(array, order.reshape(*lead, *[1] * (array.ndim - 2)), axis=1)
            return array if situations else array[0]

        best = sort(result.x)
        self._last = best.reshape(*lead, *best.shape[-2:])[:, 0].copy()
        actions, observations = self._physical(best)
        chain = None
        if result.chain is not None:
            parts = self._physical(sort(result.chain))
            chain = np.concatenate(parts[self.checkpoint.inverse is not None :], axis=-1)
        return actions, observations, np.ascontiguousarray(sort(result.values), np.float32), chain


def _guide(guide: Guide | str | None, checkpoint: Checkpoint, cost: Cost | None) -> Guide | None:
    if isinstance(guide, str) and guide == "auto":
        return None if checkpoint.value is None and cost is None else checkpoint.guide
    if guide is not None and not isinstance(guide, Guide):
        raise TypeError(f"guide: expected 'auto', None or a Guide, found {guide!r}")
    return guide
