"""One call at a time: whoever comes meanwhile is told so, and never waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..backends.engine import BusyError


class Turns:
    """Of something that belongs to one call at a time; ``what``: how the error calls it."""

    def __init__(self, what: str) -> None:
        self._what, self._lock, self._process = what, threading.Lock(), os.getpid()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """It, for one call; BusyError if another has it."""
        if self._process != os.getpid():  # after a fork: whoever held the lock is not here
            self._lock, self._process = threading.Lock(), os.getpid()
        if not self._lock.acquire(blocking=False):
            raise BusyError(self._what)
        try:
            yield
        finally:
            self._lock.release()
