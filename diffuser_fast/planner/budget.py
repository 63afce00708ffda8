"""Plans that end in time: which denoising steps are run in so many milliseconds, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.engine import Deadline, Engine, Schedule
from ..core.checkpoint import Checkpoint
from ..core.costs import Costs, Measured
from ..core.guidance import Guide, guided
from ..core.loop import Result, SamplingLoop, menu_loop
from ..core.menu import Choice, Menu, menu
from ..core.samplers import StepTable, ddim_path

KEPT = 4  # loops, engines and costs: for the sizes asked for last
TIMED = 3  # plans of each kind, to begin with
ORDER = ("full", "strided", "restrided", "finishing", "shifted")  # the better first


@dataclass(frozen=True, eq=False)
class Ended:
    """How a plan with a budget ended. rows: training steps of the group that ran fewest; ran: as ``Replay.rows``."""

    finish: str
    rows: NDArray[np.int64]
    ran: NDArray[np.int32]


class Budget:
    """The menu of a planner, with engines that can run it and what its rows cost.

    ready: (loop, batch) -> engine. deadline: whether that looks at a clock between denoising steps.
    """

    def __init__(
        self, checkpoint: Checkpoint, own: StepTable, guide: Guide | None, loop: Callable[[int], SamplingLoop],
        ready: Callable[[SamplingLoop, int], Engine], *, deadline: bool,
    ) -> None:  # fmt: skip
        steps = own if guide is None else guided(own, guide)

        def path(t: NDArray[np.int64]) -> StepTable:
            rows = ddim_path(checkpoint.schedule, t, prediction=checkpoint.prediction)
            return rows if guide is None else guided(rows, guide)

        self.menu: Menu = menu(
            steps, path, epsilon=checkpoint.prediction == "epsilon", abar=checkpoint.schedule.alphas_cumprod,
            guide_steps=0 if guide is None else guide.n_steps,
        )  # fmt: skip
        self.deadline = deadline
        self._after = self._ended = 0.0  # seconds that the answer takes when the engine has ended, the most of late
        self._judged: tuple[Costs, str] | None = None  # of the plan at hand, if it can be in time
        self._costs: dict[tuple[int, int], Costs] = {}
        self.loop = lru_cache(KEPT)(lambda horizon: menu_loop(checkpoint, loop(horizon), self.menu))
        self.engine = lru_cache(KEPT)(lambda count, horizon: ready(self.loop(horizon), count))

    def costs(self, count: int, horizon: int, run: Callable[[Engine, Schedule], Any], period: float = 0.0) -> Costs:
        """What rows cost at this size, measured now if it is new. period: seconds of idling before each timed plan."""
        key = count, horizon
        if key not in self._costs or period:
            engine = self.engine(count, horizon)
            known = sorted(self.menu.choices[1:] or self.menu.choices, key=lambda choice: len(choice.rows))
            short, long = known[min(1, len(known) - 1)], known[-1]
            kinds = [short, long, *[c for c in known if 3 <= len(c.rows) <= 8][:2], self.menu.choices[0]]
            measured, began = [], time.perf_counter()
            run(engine, Schedule(short.rows))  # the first call of all touches its memory
            for choice in kinds:
                seconds = []
                for _ in range(TIMED):
                    time.sleep(period)
                    started = time.perf_counter()
                    run(engine, Schedule(choice.rows))
                    seconds.append(time.perf_counter() - started)
                measured.append(Measured(choice.rows.tolist(), float(np.median(seconds))))
                if time.perf_counter() - began > 2 + 20 * TIMED * period and len(measured) > 2:
                    break  # of a large network
            if len(self._costs) >= KEPT:
                self._costs.pop(next(iter(self._costs)))
            self._costs[key] = Costs(self.menu.steps, measured, threads=getattr(engine, "threads", 1))
        return self._costs[key]

    def run(
        self, call: Callable[..., Result], timed: tuple[float, int], count: int, horizon: int, start: int, began: float,
        shifted: Callable[[], Result] | None = None,
    ) -> tuple[float, Ended, Result]:  # fmt: skip
        """A plan from a denoising step of the sampler on: when it began, how it ended, and its result.

        call: the engine, given all but the schedule. timed: seconds from ``began``, and the fewest rows to begin with.
        shifted: the last plan moved on, where there is one: it is the answer where not one step fits.
        """
        if (count, horizon) not in self._costs:
            self.costs(count, horizon, lambda _, schedule: call(schedule=schedule))
            began = time.perf_counter()
        costs, engine = self._costs[count, horizon], self.engine(count, horizon)
        mode = "alone" if getattr(engine, "intra_op", False) and not engine.shares else "shared"
        end = began + timed[0] - self._after - costs.reserve(mode)
        choice, fits = self.choose(costs, end - time.perf_counter(), mode, timed[1], start)
        if not fits and shifted is not None:
            self._ended, self._judged = time.perf_counter(), None
            return began, Ended("shifted", self.menu.steps.t[:0], np.full((1, 1), -1, np.int32)), shifted()
        dissolved, started = getattr(engine, "dissolved", 0), time.perf_counter()
        schedule = self.schedule(choice, costs, time.monotonic_ns() + int((end - started) * 1e9), start)
        result = call(schedule=schedule)
        self._ended = time.perf_counter()
        self._judged = (costs, mode) if fits else None
        ended = self.ended(choice, result)
        if getattr(engine, "dissolved", 0) == dissolved and len(result.rows) == 1:
            costs.learn(result.rows[0][result.rows[0] >= 0].tolist(), self._ended - started, mode)
        return began, ended, result

    def answered(self, late: bool) -> None:
        """The planner has made its answer of the result."""
        if self._judged is not None:
            self._judged[0].ended(late, self._judged[1])
        self._after = max(time.perf_counter() - self._ended, 0.9 * self._after)

    def choose(self, costs: Costs, left: float, mode: str, min_rows: int, start: int) -> tuple[Choice, bool]:
        """The best schedule that fits into so many seconds, else the cheapest that may be begun with; and whether any
        could be run in that time, in the end."""
        found, cost = None, costs.rows(mode)
        for choice in self.choices(start):
            if len(choice.rows) < min_rows and found is not None:
                continue
            found = choice
            if costs.plan(choice.rows, cost) <= left:
                return found, True
        return found, self.least(costs, cost, start) <= left

    def choices(self, start: int) -> list[Choice]:
        """Schedules of a plan that begins at a denoising step of the sampler, best first."""
        if start == 0:
            return list(self.menu.choices)
        m, rows = self.menu, np.arange(start, self.menu.own, dtype=np.int32)
        paths = range(m.first_path[start], m.first_path[start + 1])
        found = [Choice(m.path_rows[m.path_at[p] : m.path_at[p + 1]], "strided") for p in paths]
        return [Choice(rows, "full"), *(choice for choice in found if len(choice.rows) < len(rows))]

    def least(self, costs: Costs, cost: NDArray[np.float64], start: int = 0) -> float:
        """Seconds of the least that can be run from a denoising step of the sampler on: the shortest path."""
        m = self.menu
        shortest = m.first_path[start + 1] - 1
        return costs.plan(m.path_rows[m.path_at[shortest] : m.path_at[shortest + 1]], cost)

    def schedule(self, choice: Choice, costs: Costs, at: int, start: int) -> Schedule:
        """Of a plan from denoising step ``start`` on, with its deadline, nanoseconds, where the engine can keep one."""
        if not self.deadline:
            return Schedule(choice.rows, skipped=start)
        shared, alone = (np.ceil(costs.rows(mode) * 1e9).astype(np.int64) for mode in ("shared", "alone"))
        once = int(costs.once * 1e9)
        return Schedule(choice.rows, Deadline(at, shared, alone, self.menu, once=once), start)

    def ended(self, begun: Choice | str, result: Result) -> Ended:
        """What was run. begun: what it began with, or the name that a replay has."""
        ran = [rows[rows >= 0] for rows in result.rows]
        if isinstance(begun, Choice):
            finish = max((self.menu.finish(begun, rows) for rows in ran), key=ORDER.index)
        else:
            finish = begun
        return Ended(finish, self.menu.steps.t[min(ran, key=len)], result.rows)
