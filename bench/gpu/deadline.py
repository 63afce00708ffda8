"""The time there is: what still fits is decided before it begins, and what does not end is ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class OutOfTime(BaseException):
    """The deadline passed in the middle of something. No Exception: nothing may take it for a failure of its own."""


@dataclass
class Deadline:
    """``seconds`` from the moment it is made."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def left(self) -> float:
        """Seconds; never negative."""
        return max(0.0, self.began + self.seconds - self.clock())

    def within(self, seconds: float) -> float:
        """``seconds``, or what is left of them."""
        return min(seconds, self.left())


@contextmanager
def enforced(deadline: Deadline) -> Iterator[None]:
    """Raise OutOfTime in the main thread when the time is over, whatever it is doing then."""

    def over(_signal: int, _frame: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(deadline.left(), 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
