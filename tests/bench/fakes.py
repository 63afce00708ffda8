"""Candidates whose answers are known: they are found again by processes of their own, so they need a module."""

import os
import sys
import time
from dataclasses import dataclass

from bench.ground_truth import GroundTruth
from bench.peers import Candidate, Ready


@dataclass(frozen=True)
class Fake(Candidate):
    """The right answer plus ``error`` times its size. dies: when it is made "ready", or in its n-th call."""

    name: str
    error: float = 0.0
    ours: bool = False
    reason: str | None = None
    fails: bool = False
    dies: str | int | None = None
    takes: float = 0.0

    def why_not(self, problem, settings):
        return self.reason

    def ready(self, problem, settings):
        if self.fails:
            raise RuntimeError("no such kernel\nand a long trace")
        if self.dies == "ready":
            _end()
        right, calls = GroundTruth(problem).exact, []

        def run():
            calls.append(1)
            if len(calls) == self.dies:
                _end()
            time.sleep(self.takes)

        return Ready(run, lambda _: {name: a * (1 + self.error) for name, a in right.items()}, note="a note")


def _end():
    print("illegal instruction", file=sys.stderr)
    os._exit(7)


class Counter:
    """For tests of processes."""

    def __init__(self, start):
        self.n = start

    def add(self, n):
        self.n += n
        return self.n

    def fail(self):
        raise ValueError(f"cannot read {os.path.join(os.sep, 'some', 'where', 'file')}\nand more")

    def end(self):
        _end()

    def sleep(self):
        time.sleep(60)
