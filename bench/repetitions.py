"""Interleaved repetitions: A B C A B C ..., so that whatever drifts (turbo, heat, neighbours) drifts for all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

QUICK_CALL = 0.25  # seconds; a call shorter than this is run once unmeasured when its turn comes
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Repetitions:
    """How long to measure.

    budget: seconds for all candidates of a workload together; repetitions go on until it is spent, but there are at
    least ``fewest`` (``fewest_slow`` where one takes more than a fifth of the budget). burst: seconds of calls in one
    turn, at least one call; ours: the fewest calls of one turn of our engines. settle: pause before each turn, in which
    the last candidate's threads stop spinning. most_calls: of one turn.
    """

    budget: float = 20.0
    fewest: int = 8
    fewest_slow: int = 3
    burst: float = 0.1
    ours: int = 1
    settle: float = 0.03
    most_calls: int = 1000
    warm_up: float = 0.5


FULL = Repetitions()
# Of ours a hundred calls, which a p99 takes; of peers that take seconds four, for a median.
FRONT_PAGE = Repetitions(budget=15.0, fewest=4, fewest_slow=4, ours=25)
QUICK = Repetitions(budget=3.0, fewest=4, fewest_slow=2, burst=0.05, settle=0.02, warm_up=0.2)
GPU = Repetitions(budget=14.0, fewest=4, fewest_slow=2, burst=0.25, settle=0.002, warm_up=0.3)
REHEARSAL = Repetitions(budget=0.1, fewest=1, fewest_slow=1, burst=0.0, settle=0.0, warm_up=0.0)


class Timed:
    """A call and its clock. lap: makes the call and says how many milliseconds it took."""

    def __init__(self, call: Callable[[], Any], lap: Callable[[Callable[[], Any]], float]) -> None:
        self.call, self.lap, self.fastest = call, lap, float("inf")  # the fastest in seconds

    def warm_up(self, how: Repetitions) -> None:
        """A few calls, at least two, for at most about ``how.warm_up`` seconds; a plan of seconds is warm after one."""
        spent = 0.0
        for n in range(10):
            took = self.lap(self.call) * 1e-3
            self.fastest, spent = min(self.fastest, took), spent + took
            if (n >= 1 and spent > how.warm_up) or took > 4 * how.warm_up:
                break

    def turn(self, how: Repetitions, fewest: int = 1) -> list[float]:
        """Milliseconds of each call of one turn, of which there are at least ``fewest``.

        The first call after another candidate finds caches full of the other's weights; a control loop would not. So a
        turn begins with a call that is not counted, unless a call is so long that this makes no difference.
        """
        if self.fastest < QUICK_CALL:
            self.lap(self.call)
        found: list[float] = []
        while len(found) < fewest or (sum(found) * 1e-3 + self.fastest <= how.burst and len(found) < how.most_calls):
            found.append(self.lap(self.call))
        return found


def interleave(
    turns: Mapping[Key, Callable[[], list[float] | None]],
    how: Repetitions,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[Key, list[list[float]]]:
    """Milliseconds of every counted call: candidate -> repetitions -> calls; everyone has every repetition.

    A turn that returns None has ended for good (its process died): that candidate is left out of the result.
    """
    taken: dict[Key, list[list[float]]] = {name: [] for name in turns}
    began, count = clock(), 0
    while taken:
        for name in list(taken):
            sleep(how.settle)
            found = turns[name]()
            if found is None:
                del taken[name]
            else:
                taken[name].append(found)
        count += 1
        spent = clock() - began
        slow = spent / count > how.budget / 5
        if count >= (how.fewest_slow if slow else how.fewest) and spent + spent / count > how.budget:
            break
    return taken
