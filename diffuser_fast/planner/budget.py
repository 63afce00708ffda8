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
from ..core.menu import Choice, Menu, choice, menu
from ..core.samplers import StepTable, ddim_path

KEPT = 4  # loops, engines and costs: for the sizes asked for last
TIMED = 3  # plans of each kind, to begin with
LEARNT = 16  # whole plans of the least, at calibration
LONGEST = 2.0  # seconds of measuring, but for rests and the first kinds, of a large network
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
        self._before = 0.0  # seconds that a plan takes until it is known what is run, the most of late
        self._expected: tuple[float, Costs, str] | None = None  # when the plan at hand should have ended
        self._costs: dict[tuple[int, int], Costs] = {}
        self.loop = lru_cache(KEPT)(lambda horizon: menu_loop(checkpoint, loop(horizon), self.menu))
        self.engine = lru_cache(KEPT)(lambda count, horizon: ready(self.loop(horizon), count))
        self.choices = lru_cache(KEPT)(self._choices)

    def costs(self, count: int, horizon: int, run: Callable[[Engine, Schedule], Any], period: float = 0.0) -> Costs:
        """What rows cost at this size, measured now if it is new. period: seconds of idling before each timed plan."""
        key = count, horizon
        if key not in self._costs or period:
            engine = self.engine(count, horizon)
            known = sorted(self.menu.choices[1:] or self.menu.choices, key=lambda kind: len(kind.rows))
            short, long = known[min(1, len(known) - 1)], known[-1]
            kinds = [short, long, *[c for c in known if 3 <= len(c.rows) <= 8][:2], self.menu.choices[0]]
            measured, began = [], time.perf_counter()
            run(engine, Schedule(short.rows))  # the first call of all touches its memory
            for kind in kinds:
                seconds = []
                for _ in range(TIMED):
                    time.sleep(period)
                    started = time.perf_counter()
                    run(engine, Schedule(kind.rows))
                    seconds.append(time.perf_counter() - started)
                measured.append(Measured(kind.rows.tolist(), float(np.median(seconds))))
                if time.perf_counter() - began > LONGEST + 20 * TIMED * period and len(measured) > 2:
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
        started = time.perf_counter()
        self._before = max(started - began, 0.9 * self._before)
        end = began + timed[0] - costs.reserve(mode)
        begun, fits = self.choose(costs, end - started, mode, timed[1], start)
        if not fits and shifted is not None:
            self._expected = None
            return began, Ended("shifted", self.menu.steps.t[:0], np.full((1, 1), -1, np.int32)), shifted()
        dissolved = getattr(engine, "dissolved", 0)
        offset = time.monotonic_ns() * 1e-9 - time.perf_counter()
        result = call(schedule=self.schedule(begun, costs, int((end + offset) * 1e9), start))
        took = time.perf_counter() - started
        if result.expected is not None:
            expected = int(result.expected.max()) * 1e-9 - offset
        else:
            expected = started + costs.plan(len(begun.rows), begun.guide_steps, mode)
        self._expected = expected, costs, mode
        ended = self.ended(begun, result)
        if getattr(engine, "dissolved", 0) == dissolved and len(result.rows) == 1:
            costs.learn(result.rows[0][result.rows[0] >= 0].tolist(), took, mode)
        return began, ended, result

    def answered(self, at: float) -> None:
        """The planner has made its answer of the result, at a time of ``perf_counter``."""
        if self._expected is not None:
            expected, costs, mode = self._expected
            costs.answered(at - expected, mode)

    def choose(self, costs: Costs, left: float, mode: str, min_rows: int, start: int) -> tuple[Choice, bool]:
        """The best schedule that fits into so many seconds, else the cheapest that may be begun with; and whether any
        could be run in that time, in the end."""
        begun, least = self.choices(start)
        found = None
        for one in begun:
            if len(one.rows) < min_rows and found is not None:
                continue
            found = one
            if costs.plan(len(one.rows), one.guide_steps, mode) <= left:
                return found, True
        return found, costs.plan(len(least.rows), least.guide_steps, mode) <= left

    def _choices(self, start: int) -> tuple[tuple[Choice, ...], Choice]:
        """Schedules of a plan that begins at a denoising step of the sampler, best first; and the least that it can
        come down to: the shortest path from there."""
        m = self.menu
        paths = range(m.first_path[start], m.first_path[start + 1])
        found = [choice(m.steps, m.path_rows[m.path_at[p] : m.path_at[p + 1]], "strided") for p in paths]
        if start == 0:
            return m.choices, found[-1]
        rows = np.arange(start, m.own)
        return (choice(m.steps, rows, "full"), *(one for one in found if len(one.rows) < len(rows))), found[-1]

    def least(self, costs: Costs) -> float:
        """Seconds of the shortest budget that is kept, from the call to the answer."""
        least = self.choices(0)[1]
        return self._before + costs.plan(len(least.rows), least.guide_steps, "shared") + costs.reserve("shared")

    def schedule(self, choice: Choice, costs: Costs, at: int, start: int) -> Schedule:
        """Of a plan from denoising step ``start`` on, with its deadline, nanoseconds, where the engine can keep one."""
        if not self.deadline:
            return Schedule(choice.rows, skipped=start)
        shared, alone = costs.nanoseconds("shared"), costs.nanoseconds("alone")
        return Schedule(choice.rows, Deadline(at, shared, alone, self.menu, once=int(costs.once * 1e9)), start)

    def ended(self, begun: Choice | str, result: Result) -> Ended:
        """What was run. begun: what it began with, or the name that a replay has."""
        ran = [rows[rows >= 0] for rows in result.rows]
        if isinstance(begun, Choice):
            finish = max((self.menu.finish(begun, rows) for rows in ran), key=ORDER.index)
        else:
            finish = begun
        return Ended(finish, self.menu.steps.t[min(ran, key=len)], result.rows)
