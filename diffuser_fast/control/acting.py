"""The rules of acting while planning: steps are counted, never time, so the same steps give the same actions.

A plan is begun from the observation of step r and used from step r + d on, from its row d: d, the delay, is fixed
before. What will be done until then has been promised by the plan in use, and is frozen in the new one (``Prefix``). A
plan that comes late is used from the row that it is due for by then, if the seam there is small enough.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.prefix import Prefix
from ..core.scalars import real, whole
from ..planner import Planner, Plans, Replay

FREEZE = ("auto", "actions", "states", "none")
LOGGED = 4096  # plans
ROUNDS = 3  # plans that are timed for delay="auto"
MARGIN = 1.25  # of the longest of them
MOST_REST = 50.0  # milliseconds, before each plan that is timed for budgets


SOURCES = ("plan", "shifted", "hold")
_made = tuple.__new__  # of a NamedTuple, from all its fields
_process = [object()]  # another one in every process
os.register_at_fork(after_in_child=lambda: _process.__setitem__(0, object()))


class Step(NamedTuple):
    """What to do now. action: ``[A]``, float32.

    source: "plan" (the plan in use is in time), "shifted" (one is overdue or was dropped or failed; the older plan goes
    on), or "hold" (that has ended: its last action, or what ``hold`` says). index: the row of the plan in use; age:
    steps since the observation that it was made of; late: steps that the plan being made is overdue, 0 if it is not.
    seam: where a new plan is taken over, how far it departs from the old one in its first row that is not frozen, the
    largest difference in normalised units; else None.
    """

    action: NDArray[np.float32]
    source: str
    index: int
    age: int
    late: int
    seam: float | None = None


class Request(NamedTuple):
    """A plan to be made of the observation of a step. What takes time is left to whoever makes it."""

    step: int
    number: int
    conditions: Mapping[int, Any]
    horizon: int | None
    warm: bool = False
    shift: int = 1
    old: Plans | None = None  # the plan in use, which was made ``ago`` steps before
    ago: int = 0


@dataclass(frozen=True, eq=False)
class Answer:
    """Its plans, or the error. seams: of a plan used from row k on, ``[H]``; None: of the first. actions: of each row
    of the best plan, an array of its own: whoever plans makes ready what a step hands out. rows: that can be acted
    on."""

    request: Request
    plans: Plans | None
    error: BaseException | None = None
    seams: list[float] | None = None
    actions: list[NDArray[np.float32]] | None = None
    rows: int = 0


@dataclass(slots=True)
class Record:
    """Of one plan. step: of its observation; come: the step at which it had come; used: from which on, None: not."""

    step: int
    number: int
    come: int | None = None
    used: int | None = None
    error: BaseException | None = None
    replay: Replay | None = None
    finish: str | None = None


class ActingLoop:
    """What ``Executor`` and ``Stepped`` share.

    dt: seconds of a control step. conditions: beside the observation at time 0, a mapping or a function of the step.
    horizon: a function of the step, of plans that shrink (None from it: plan no more). delay: d in steps, or "auto":
    as many as hold the longest of three plans and a quarter more. budget_ms: of a plan; "auto": d dt less a tenth.
    replan: steps between two plans' observations, at least (None: as soon as the last is in use). freeze: "actions" 0
    to d - 1, "states" 1 to d + 1 (for ``follow``, which looks one ahead), or "none"; "auto": "states" if they are what
    is followed. follow: (obs, planned observations ``[H, O]``, row) -> action, for planners whose states are followed;
    None: their actions are executed. hold: obs -> action when the plan is over; None: its last action again. warm:
    start plans from the last one (a planner with ``warm_start``). max_seam: a late plan with a larger one is dropped
    (None: none is). watchdog: steps after which a plan that is overdue is cancelled.

    counts: of plans used, late, dropped, failed; of steps by source; of observations not taken; of the watchdog.
    log: a ``Record`` of each plan, of the last 4096. error: the planner's last.
    """

    def __init__(
        self, planner: Planner, dt: float, *, conditions: Mapping[int, Any] | Callable[[int], Mapping] | None = None,
        horizon: Callable[[int], int | None] | None = None, delay: int | str = "auto",
        budget_ms: float | str | None = None, min_rows: int = 4, replan: int | None = None, freeze: str = "auto",
        follow: Callable[[NDArray, NDArray, int], ArrayLike] | None = None,
        hold: Callable[[NDArray], ArrayLike] | None = None, warm: bool = False, max_seam: float | None = None,
        watchdog: int | None = None,
    ) -> None:  # fmt: skip
        if not hasattr(planner, "checkpoint"):
            raise TypeError(f"planner: expected a Planner, found {type(planner).__name__}")
        if planner.checkpoint.observes_condition or planner.checkpoint.acting.history > 1:
            raise ValueError("planner: its plans begin at several observations; that is for Planner.act")
        self.planner, self.dt = planner, real("dt", dt, 0)
        self._dim = planner.checkpoint.observation_dim
        self._conditions = conditions if callable(conditions) else None
        self._given = {} if callable(conditions) else dict(conditions or {})
        self._horizon = horizon
        self.delay = delay if delay == "auto" else whole("delay", delay, 1, planner.horizon - 1)
        self.budget_ms = budget_ms if budget_ms in ("auto", None) else real("budget_ms", budget_ms, 0, 1e9)
        self._auto_delay, self._auto_budget = delay == "auto", budget_ms == "auto"
        self._min_rows = whole("min_rows", min_rows, 1)
        self._replan = 1 if replan is None else whole("replan", replan, 1)
        if freeze not in FREEZE:
            raise ValueError(f"freeze: found {freeze!r}, expected one of {', '.join(FREEZE)}")
        self._freeze = freeze if freeze != "auto" else "states" if follow else "actions"
        if planner.checkpoint.inverse is not None and self._freeze == "actions":
            raise ValueError("freeze: the plans of this checkpoint hold no actions; 'states' or 'none'")
        self._follow, self._hold = follow, hold
        if warm and planner.warm_start is None:
            raise ValueError("warm: the planner was made without warm_start")
        self._warm = bool(warm)
        self.max_seam = None if max_seam is None else real("max_seam", max_seam, 0)
        self._watchdog = None if watchdog is None else whole("watchdog", watchdog, 1)
        self._calibrated: set[int | None] = set()
        self._counts: Counter[str] = Counter()
        self._sources, self._i = [0, 0, 0], -1  # steps by SOURCES; the number of the last one
        self._used = self._late = 0  # plans
        self._token: object = None  # of the process in which it was started
        self._mail: Answer | None = None  # that has come and was not looked at
        self._spent: tuple[object, ...] = ()  # what is over: whoever plans frees it, which takes longer than a step
        self.log: deque[Record] = deque(maxlen=LOGGED)
        self.error: BaseException | None = None

    def start(self, obs: ArrayLike) -> None:
        """Plan once from ``obs [O]``, in the caller's thread, and be at step 0."""
        obs = self._seen(obs)
        if obs is None:
            raise ValueError(f"obs: expected {self.planner.checkpoint.observation_dim} finite numbers")
        self.planner.reset()
        self._counts.clear()
        self._sources, self._used, self._late = [0, 0, 0], 0, 0
        self.log.clear()
        self.error = None
        given = self._given if self._conditions is None else self._conditions(0)
        conditions = {0: np.array(obs), **given}
        horizon = self.planner.horizon if self._horizon is None else self._horizon(0)
        self._choose_delay(conditions, horizon)
        request = Request(0, 0, conditions, horizon)
        answer = self.made(request)
        if answer.error is not None:
            raise answer.error
        self._i = -1
        self._obs = obs
        self._plan, self._actions, self._rows, self._of = answer.plans, answer.actions, answer.rows, 0
        self.log.append(Record(0, 0, 0, 0, None, answer.plans.replay, answer.plans.finish))
        self._pending: Request | None = None
        self._waiting: Answer | None = None
        self._made_of, self._asked_at, self._number, self._shifting = 0, 0, 1, False
        self._mail, self._token = None, _process[0]

    def step(self, obs: ArrayLike | None) -> Step:
        """The action of the next step, given its observation ``[O]``; None: there is no new one (a sensor is silent).

        An observation that is missing or not finite is counted, and no plan is made of it.
        """
        # After a rest caches are cold, and every call and every line that is touched costs: as few as can be.
        if self._token is not _process[0]:
            self._alive()
        self._i = i = self._i + 1
        try:
            seen = obs.tolist()
            if len(seen) != self._dim or not isfinite(sum(seen)):
                seen = self._seen(obs)
        except (AttributeError, TypeError):
            seen = self._seen(obs)
        if seen is None:
            self._counts["observations not taken"] += 1
        else:
            self._obs = seen
        seam, late, pending = None, 0, self._pending
        if pending is not None:
            due = pending.step + self.delay
            if self._mail is not None:
                self._receive(i)
            if i >= due:
                if self._waiting is not None:
                    seam = self._take_over(i, self._waiting)
                elif i > due and self._pending is not None:
                    late = i - due
                    self._overdue(late)
        if self._pending is None and seen is not None and i > 0 and i - self._asked_at >= self._replan:
            self._begin(i, seen)
        row, shifting = i - self._of, self._shifting
        if row >= self._rows or self._follow is not None:
            return self._act(row, late, seam)
        self._sources[shifting] += 1
        return _made(Step, (self._actions[row], SOURCES[shifting], row, row, late, seam))

    @property
    def counts(self) -> Counter[str]:
        """Of plans, steps and observations, by what became of them."""
        plans = {"used": self._used, "late": self._late}
        return self._counts + Counter(plans | dict(zip(SOURCES, self._sources, strict=True)))

    def expected(self, step: Step) -> NDArray[np.float32]:
        """The observation ``[O]`` that the plan in use has for the step after this one: a model, or a check."""
        observations = self._plan.observations[0]
        return observations[min(step.index + 1, len(observations) - 1)].copy()

    @property
    def idle(self) -> bool:
        """Whether no plan is being made: none was begun, or the last one has come and waits for its step."""
        return self._pending is None or self._waiting is not None

    def made(self, request: Request, replay: Replay | None = None) -> Answer:
        """The plans of a request, by the planner, or its error: whatever it is, it must not end the loop."""
        budget = {"budget_ms": self.budget_ms, "min_rows": self._min_rows} if self.budget_ms is not None else {}
        self._spent = ()
        options: dict[str, Any] = {"number": request.number, "warm": request.warm, "shift": request.shift, **budget}
        if replay is not None:
            options = {"replay": replay}
        try:
            prefix = self._prefix(request)
            plans = self.planner.plan(request.conditions, horizon=request.horizon, prefix=prefix, **options)
            if not (np.isfinite(plans.actions).all() and np.isfinite(plans.observations).all()):
                raise FloatingPointError("plans: not finite")
            actions = [] if self._follow else [action.copy() for action in plans.actions[0]]
            rows = plans.observations.shape[1] if self._follow else len(actions)
            return Answer(request, plans, None, self._seams(request, plans, prefix), actions, rows)
        except Exception as error:
            return Answer(request, None, error)

    # What Executor and Stepped do: begin a plan, whose answer they put into the mail.
    def _ask(self, request: Request) -> None:
        raise NotImplementedError

    def _alive(self) -> None:
        """It was not started, or in another process."""
        if self._token is None:
            raise RuntimeError(f"{type(self).__name__.lower()}: start(obs) comes first")
        self._token = _process[0]

    def _choose_delay(self, conditions: Mapping[int, Any], horizon: int | None) -> None:
        if self._auto_delay:
            times = [self.planner.plan(conditions, number=0, horizon=horizon).latency_ms for _ in range(ROUNDS + 1)]
            longest = MARGIN * max(times[1:]) * 1e-3
            if isinstance(self.budget_ms, float):
                longest = min(longest, MARGIN * self.budget_ms * 1e-3)
            self.delay = min(max(ceil(longest / max(self.dt, 1e-9)), 1), self.planner.horizon - 1)
        if self._auto_budget:
            self.budget_ms = 0.9 * self.delay * self.dt * 1e3
        if self.budget_ms is not None and horizon not in self._calibrated:  # at the rate of the loop
            self.planner.calibrate(horizon=horizon, period_ms=min(self.dt * 1e3, MOST_REST))
            self._calibrated.add(horizon)

    def _seen(self, obs: ArrayLike | None) -> list[float] | None:
        """Its numbers, or None if it is none. Without numpy: after a rest its functions cost 50 microseconds each."""
        try:
            numbers = obs.tolist() if hasattr(obs, "tolist") else list(obs)
            if len(numbers) == self._dim and all(map(isfinite, numbers)):
                return numbers
        except TypeError:  # None, a number, numbers in rows, something else
            pass
        return None

    def _begin(self, i: int, obs: list[float]) -> None:
        """Ask for a plan from this step's observation."""
        horizon = self.planner.horizon if self._horizon is None else self._horizon(i)
        if horizon is None or horizon <= self.delay + 1:
            return
        conditions = {0: obs, **(self._given if self._conditions is None else self._conditions(i))}
        number, shift, ago = self._number, i - self._made_of, i - self._of
        request = _made(Request, (i, number, conditions, horizon, self._warm, shift, self._plan, ago))
        self._pending, self._asked_at, self._number = request, i, number + 1
        self._ask(request)
        self.log.append(Record(i, number))

    def _prefix(self, request: Request) -> Prefix | None:
        """What the plan in use has promised until the new one is used, as far as it reaches."""
        row, d, horizon = request.ago, self.delay, request.horizon
        if request.old is None or self._freeze == "none":
            return None
        if self._freeze == "actions":
            actions = request.old.actions[0, row : row + d]
            return Prefix(actions, None) if len(actions) else None
        free = min([horizon, *(t % horizon for t in request.conditions if t % horizon)])  # up to what is given
        states = request.old.observations[0, row + 1 : row + min(d + 2, free)]
        return Prefix(None, states, at=1) if len(states) else None

    def _overdue(self, late: int) -> None:
        self._shifting = True
        if late == self._watchdog:
            self._counts["watchdog"] += 1
            self.planner.cancel()

    def _receive(self, i: int) -> None:
        """A plan has come, or has failed."""
        answer, self._mail = self._mail, None
        record = self.log[-1]
        record.come, record.error = i, answer.error
        if answer.error is not None:
            self.error, self._pending, self._shifting = answer.error, None, True
            self._counts["failed"] += 1
            return
        record.replay, record.finish = answer.plans.replay, answer.plans.finish
        self._made_of = answer.request.step
        self._waiting = answer

    def _take_over(self, i: int, answer: Answer) -> float | None:
        """Use the plan that has come, at its step or later if it came late. The seam, if it is used."""
        self._spent = (answer, self._actions)  # and its request has the plan that was in use
        self._waiting = self._pending = None
        step = answer.request.step
        row = i - step
        if row < answer.rows:
            seam = answer.seams[row]
            if row == self.delay or self.max_seam is None or seam <= self.max_seam:
                self._used += 1
                self._late += row > self.delay
                self.log[-1].used = i
                self._plan, self._actions, self._rows, self._of = answer.plans, answer.actions, answer.rows, step
                self._shifting = False
                return seam
        self._counts["dropped"] += 1
        self._shifting = True
        return None

    def _seams(self, request: Request, plans: Plans, prefix: Prefix | None) -> list[float] | None:
        """For each row that the new plan may be used from: how far it departs from the old one in its first row from
        there on that is not frozen, the largest difference in normalised units."""
        if request.old is None:
            return None
        name = "observations" if self._follow else "actions"
        normalizer = getattr(self.planner.checkpoint.normalizers, name)
        old, new = getattr(request.old, name)[0], getattr(plans, name)[0]
        rows = np.arange(len(new))
        if prefix is not None:
            rows = np.minimum(np.maximum(rows, prefix.rows.stop), len(new) - 1)
        before = normalizer.normalize(old[np.minimum(rows + request.ago, len(old) - 1)])
        return np.abs(normalizer.normalize(new[rows]) - before).max(axis=1, initial=0.0).tolist()

    def _act(self, row: int, late: int, seam: float | None) -> Step:
        """By the planned states, or after the plan's end."""
        if row < self._rows:
            self._sources[self._shifting] += 1
            return Step(self._followed(row), SOURCES[self._shifting], row, row, late, seam)
        self._sources[2] += 1
        last = self._rows - 1
        if self._hold is not None:
            action = np.array(self._hold(np.array(self._obs)), np.float32)
        else:
            action = self._followed(last) if self._follow else self._actions[last].copy()
        return Step(action, "hold", last, row, late, seam)

    def _followed(self, row: int) -> NDArray[np.float32]:
        return np.array(self._follow(np.array(self._obs), self._plan.observations[0], row), np.float32)
