"""Interleaved measurement: A B C A B C ..., so that whatever drifts (turbo, heat, neighbours) drifts for all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

QUICK_CALL = 0.25  # seconds; a call shorter than this is run once unmeasured when its turn comes


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    budget: seconds for all candidates of a workload together; rounds go on until it is spent, but there are at least
    ``fewest`` (``fewest_slow`` where one round takes more than a fifth of the budget). burst: seconds of calls in one
    turn, at least one call. settle: pause before each turn, in which the last candidate's threads stop spinning.
    most_calls: of one turn.
    """

    budget: float = 20.0
    fewest: int = 8
    fewest_slow: int = 3
    burst: float = 0.1
    settle: float = 0.03
    most_calls: int = 1000
    warm_up: float = 0.5


def interleave(
    calls: Mapping[str, Callable[[], Any]],
    plan: Plan,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    lap: Callable[[Callable[[], Any]], float] | None = None,
) -> dict[str, list[list[float]]]:
    """Milliseconds of every measured call: candidate -> rounds -> calls. Every candidate has every round.

    lap: makes a call and says how many milliseconds it took, by a clock of its own; None: by ``clock``.

    The first turn after another candidate finds caches full of the other's weights; a control loop would not. So each
    turn begins with a call that is not counted, unless a call is so long that this makes no difference.
    """
    if lap is None:
        lap = partial(_lap, clock=clock)
    took = {name: _warm_up(call, plan, clock) for name, call in calls.items()}
    taken: dict[str, list[list[float]]] = {name: [] for name in calls}
    began, rounds = clock(), 0
    while True:
        for name, call in calls.items():
            sleep(plan.settle)
            if took[name] < QUICK_CALL:
                call()
            turn: list[float] = []
            spent = 0.0
            while not turn or (spent + took[name] <= plan.burst and len(turn) < plan.most_calls):
                turn.append(lap(call))
                spent += turn[-1] * 1e-3
            taken[name].append(turn)
        rounds += 1
        spent = clock() - began
        slow = spent / rounds > plan.budget / 5
        if rounds >= (plan.fewest_slow if slow else plan.fewest) and spent + spent / rounds > plan.budget:
            return taken


def _lap(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return (clock() - start) * 1e3


def _warm_up(call: Callable[[], Any], plan: Plan, clock: Callable[[], float]) -> float:
    """Seconds of the fastest of a few calls: at least two, for at most about ``warm_up`` seconds."""
    fastest, began = float("inf"), clock()
    for n in range(10):
        start = clock()
        call()
        fastest = min(fastest, clock() - start)
        if n >= 1 and clock() - began > plan.warm_up:
            break
        if n == 0 and fastest > 4 * plan.warm_up:  # a plan of seconds is warm after one
            break
    return fastest
