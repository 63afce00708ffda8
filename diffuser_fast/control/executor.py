"""Planning while acting, by a thread (``Executor``) or in simulated time (``Stepped``): one logic, the same bits.

The rules are those of ``control/acting.py``: when a plan is begun, from which step on it is used, what is done
meanwhile. Here is only who plans, and when a plan has come.
"""

from __future__ import annotations

import math
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from ..core.scalars import real
from ..planner import Planner
from .acting import ActingLoop, Answer, Record, Request, Step, _process

SWITCH = 1e-4  # seconds after which Python's threads take turns while an executor runs; else 5 ms


class Executor(ActingLoop):
    """Plans in a thread of its own while the caller acts: ``start(obs)`` once, then ``step(obs)`` every ``dt``.

    ``step`` waits for nothing and nobody: it looks into a mailbox. It needs the interpreter, as all of Python does: the
    engine runs without it, and while an executor runs threads take turns every 0.1 ms. What it takes besides the
    planner is told by ``ActingLoop``. Nothing in it reads a clock, so a clock that jumps changes nothing; only budgets
    of plans are of time, the monotonic one.

    with dfx.Executor(planner, dt=0.02) as ex:
        ex.start(obs)
        while True:
            step = ex.step(obs)  # step.action, step.source, ...
    """

    def __init__(self, planner: Planner, dt: float, **options: Any) -> None:
        super().__init__(planner, dt, **options)
        self._asked: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._interval: float | None = None

    def start(self, obs: Any) -> None:
        """Plan once, which takes the time it takes, and begin. Again: another episode."""
        self.stop()
        self._asked = queue.SimpleQueue()
        super().start(obs)
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(min(self._interval, SWITCH))
        self._thread = threading.Thread(target=self._work, args=(self._asked,), name="diffuser-fast", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its denoising step. Nothing if there is none."""
        thread, self._thread = self._thread, None
        token, self._token = self._token, None
        if thread is None:
            return
        sys.setswitchinterval(self._interval)
        if token is not _process[0]:  # a forked child has no such thread
            return
        self._asked.put(None)
        while thread.is_alive():
            self.planner.cancel()
            thread.join(0.01)

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ask(self, request: Request) -> None:
        self._asked.put(request)

    def _alive(self) -> None:
        if self._token is not None:
            raise RuntimeError("executor: it belongs to the process that started it; start one here")
        super()._alive()

    def _work(self, asked: queue.SimpleQueue) -> None:
        while (request := asked.get()) is not None:
            self._mail = self.made(request)  # the last one has been looked at: one is asked for at a time


class Stepped(ActingLoop):
    """The same in simulated time: a plan that was begun at step r has come at step ``r + cost(n)``, n counting plans.

    cost: a number of steps, or a function of n (None: every plan comes when it is due). log: of an Executor instead;
    each of its plans comes, or fails, when it did there, and takes the denoising steps that it took there. Plans are
    made in the caller's thread.
    """

    def __init__(
        self, planner: Planner, dt: float, *, cost: int | Callable[[int], int] | None = None,
        log: Sequence[Record] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(planner, dt, **options)
        if cost is not None and log is not None:
            raise ValueError("cost: the log says when plans have come")
        self._cost = cost if callable(cost) else lambda n: self.delay if cost is None else cost
        self._told = None if log is None else {record.number: record for record in log}
        self._answer: Answer | None = None
        self._at = math.inf

    def start(self, obs: Any) -> None:
        """Plan once, and begin."""
        self._answer, self._at = None, math.inf
        super().start(obs)

    def _ask(self, request: Request) -> None:
        if self._told is None:
            self._answer = self.made(request)
            self._at = request.step + max(int(real("cost", self._cost(request.number), 0)), 1)
            return
        record = self._told.get(request.number)
        if record is None or record.come is None:  # it had not come when the log ended
            self._answer, self._at = None, math.inf
        elif record.error is not None:
            self._answer, self._at = Answer(request, None, record.error), record.come
        else:
            self._answer, self._at = self.made(request, record.replay), record.come

    def step(self, obs: ArrayLike | None) -> Step:
        """See ``ActingLoop``."""
        if self._i + 1 >= self._at:
            self._mail, self._answer, self._at = self._answer, None, math.inf
        return super().step(obs)
