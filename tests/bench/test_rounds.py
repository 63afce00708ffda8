"""The order of measurement, on a clock that only moves when a call says so."""

import pytest

from bench.rounds import Plan, interleave


class Clock:
    """A clock and calls on it; ``calls`` is the order in which they were made."""

    def __init__(self):
        self.now, self.calls, self.slept = 0.0, [], []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.calls.append("-")

    def call(self, name, seconds):
        def run():
            self.calls.append(name)
            self.now += seconds

        return run


def measure(plan, **seconds):
    clock = Clock()
    taken = interleave({n: clock.call(n, s) for n, s in seconds.items()}, plan, clock=clock, sleep=clock.sleep)
    first = clock.calls.index("-")
    return taken, "".join(clock.calls[first:]), clock


def test_turns_go_round():
    """A pause, one call that is not counted, then a burst; A, B, C, and again."""
    plan = Plan(budget=0.1, fewest=2, fewest_slow=2, burst=0.0025, settle=0.01)
    taken, order, clock = measure(plan, a=0.001, b=0.001, c=0.001)
    turn = "-aaa-bbb-ccc"
    assert order == turn * (len(order) // len(turn))
    assert {len(rounds) for rounds in taken.values()} == {len(order) // len(turn)}
    assert all(len(one) == 2 for rounds in taken.values() for one in rounds)
    assert set(clock.slept) == {0.01}


def test_times_are_milliseconds():
    taken, _, _ = measure(Plan(budget=0.01, fewest=2), a=0.004)
    assert all(ms == pytest.approx(4.0) for one in taken["a"] for ms in one)


def test_a_slow_call_is_made_once_and_not_warmed_again():
    plan = Plan(budget=1.0, fewest=8, fewest_slow=3, burst=0.1)
    taken, order, _ = measure(plan, slow=1.0, fast=0.05)
    assert order == "-slow-fastfastfast" * 3
    assert [len(one) for one in taken["slow"]] == [1, 1, 1]


def test_rounds_fill_the_budget():
    taken, _, clock = measure(Plan(budget=5.0, fewest=2, burst=0.1), a=0.01)
    assert len(taken["a"]) > 30
    assert clock.now < 6.0


def test_few_rounds_even_without_time():
    taken, _, _ = measure(Plan(budget=1e-9, fewest=4, fewest_slow=2, burst=0.01), a=0.001)
    assert len(taken["a"]) == 2


def test_turns_are_bounded():
    taken, _, _ = measure(Plan(budget=0.01, fewest=2, burst=1.0, most_calls=7), a=1e-6)
    assert {len(one) for one in taken["a"]} == {7}
