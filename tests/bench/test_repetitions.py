"""The order of measurement, on a clock that only moves when a call says so."""

import pytest

from bench.repetitions import FRONT_PAGE, Repetitions, Timed, interleave
from bench.stats import FEWEST


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

    def lap(self, call):
        began = self.now
        call()
        return (self.now - began) * 1e3


def measure(how, **seconds):
    clock = Clock()
    timed = {n: Timed(clock.call(n, s), clock.lap) for n, s in seconds.items()}
    for one in timed.values():
        one.warm_up(how)
    clock.calls.clear()
    turns = {n: lambda one=one: one.turn(how) for n, one in timed.items()}
    taken = interleave(turns, how, clock=clock, sleep=clock.sleep)
    return taken, "".join(clock.calls), clock


def test_turns_go_round():
    """A pause, one call that is not counted, then a burst; A, B, C, and again."""
    how = Repetitions(budget=0.1, fewest=2, fewest_slow=2, burst=0.0025, settle=0.01)
    taken, order, clock = measure(how, a=0.001, b=0.001, c=0.001)
    turn = "-aaa-bbb-ccc"
    assert order == turn * (len(order) // len(turn))
    assert {len(calls) for calls in taken.values()} == {len(order) // len(turn)}
    assert all(len(one) == 2 for calls in taken.values() for one in calls)
    assert set(clock.slept) == {0.01}


def test_calls_enough_for_a_percentile():
    """Ours are called more often in a turn, however long a call takes; turns still go round."""
    how, clock = Repetitions(burst=0.0, ours=5), Clock()
    timed = Timed(clock.call("a", 1.0), clock.lap)
    assert len(timed.turn(how)) == 1 and len(timed.turn(how, how.ours)) == 5
    assert FRONT_PAGE.fewest_slow * FRONT_PAGE.ours >= FEWEST[99]


def test_times_are_milliseconds():
    taken, _, _ = measure(Repetitions(budget=0.01, fewest=2), a=0.004)
    assert all(ms == pytest.approx(4.0) for one in taken["a"] for ms in one)


def test_a_slow_call_is_made_once_and_not_warmed_again():
    how = Repetitions(budget=1.0, fewest=8, fewest_slow=3, burst=0.1)
    taken, order, _ = measure(how, slow=1.0, fast=0.05)
    assert order == "-slow-fastfastfast" * 3
    assert [len(one) for one in taken["slow"]] == [1, 1, 1]


def test_repetitions_fill_the_budget():
    taken, _, clock = measure(Repetitions(budget=5.0, fewest=2, burst=0.1), a=0.01)
    assert len(taken["a"]) > 30
    assert clock.now < 6.0


def test_few_repetitions_even_without_time():
    taken, _, _ = measure(Repetitions(budget=1e-9, fewest=4, fewest_slow=2, burst=0.01), a=0.001)
    assert len(taken["a"]) == 2


def test_turns_are_bounded():
    taken, _, _ = measure(Repetitions(budget=0.01, fewest=2, burst=1.0, most_calls=7), a=1e-6)
    assert {len(one) for one in taken["a"]} == {7}


def test_who_drops_out_is_left_out():
    clock, answers = Clock(), iter([[1.0], None])
    turns = {"a": lambda: clock.lap(clock.call("a", 0.1)) and [100.0], "b": lambda: next(answers)}
    taken = interleave(turns, Repetitions(budget=0.35, fewest=2, fewest_slow=2), clock=clock, sleep=clock.sleep)
    assert set(taken) == {"a"} and len(taken["a"]) == 3
    assert interleave({"b": lambda: None}, Repetitions(), clock=clock, sleep=clock.sleep) == {}
