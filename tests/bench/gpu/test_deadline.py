"""The time there is, by a clock of the test's own; and its end, by the real one."""

import contextlib
import time

import pytest

from bench.gpu.deadline import Deadline, OutOfTime, enforced


def test_what_is_left():
    now = [100.0]
    deadline = Deadline(10.0, lambda: now[0])
    assert deadline.left() == 10.0 and deadline.within(3.0) == 3.0
    now[0] = 108.0
    assert deadline.left() == 2.0 and deadline.within(3.0) == 2.0
    now[0] = 200.0
    assert deadline.left() == 0.0


def test_what_does_not_end_is_ended():
    began = time.monotonic()
    with pytest.raises(OutOfTime), enforced(Deadline(0.05)):
        while True:
            with contextlib.suppress(Exception):  # the end is no Exception, so that nobody takes it for one
                time.sleep(0.01)
    assert time.monotonic() - began < 2


def test_what_ends_in_time_is_left_alone():
    with enforced(Deadline(0.05)):
        pass
    time.sleep(0.1)
