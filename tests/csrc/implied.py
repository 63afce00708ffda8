"""The error that float32 implies (conformance/implied.py), from the float64 interpreter and without torch.

The tests here also run under sanitizers, beside which torch cannot be loaded.
"""

from dataclasses import replace

import numpy as np

from csrc import interpreter
from diffuser_fast.conformance.arithmetic import ARITHMETIC, ELEMENTARY, spread_of_sum
from diffuser_fast.conformance.error_bounds import Implied

COPIES = 8


class Thrown:
    """Every result of a batch of equal copies, but for the first copy, is moved by a rounding of float32."""

    def __init__(self):
        self.u, self.rng = ARITHMETIC["float32"], np.random.default_rng(0)

    def once(self, y, unit=1):
        y = np.array(y)
        copies = y[len(y) // (1 + COPIES) :]
        copies += self.u.results * unit * copies * self.rng.choice([-1.0, 1.0], copies.shape)
        return y

    def function(self, f, x):
        return self.once(f(x), ELEMENTARY)

    def total(self, y, squares, terms):
        """squares: takes a function that takes the first copy of an array, and gives the sum of squared terms."""
        y = np.array(y)
        one = len(y) // (1 + COPIES)
        spread = spread_of_sum(y[:one], squares(lambda x: x[: len(x) // (1 + COPIES)]), terms)
        y[one:] += self.u.sums * _copied(spread)[one:] * self.rng.standard_normal(y[one:].shape)
        return y


def by_program(program, weights, inputs, table=None):
    """What is implied for each output."""
    return [_implied(y) for y in interpreter.run(program, weights, [_copied(x) for x in inputs], table, Thrown())]


def by_plan(loop, known, tape, **arguments):
    """What is implied for x, values and chain."""
    if len(known.values) > 1:
        known = replace(known, values=_copied(known.values))
    x, values, _, chain = interpreter.plan(loop, known, _copied(tape, axis=1), r=Thrown(), **arguments)
    return {"x": _implied(x), "values": _implied(values), "chain": _implied(chain)}


def _copied(array, axis=0):
    return np.concatenate([array] * (1 + COPIES), axis)


def _implied(copies):
    exact, *others = np.split(copies, 1 + COPIES)
    return Implied(exact, np.stack(others) - exact)
