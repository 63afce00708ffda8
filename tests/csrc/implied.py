"""The error that float32 implies (conformance/implied.py), from the float64 interpreter and without torch.

The tests here also run under sanitizers, beside which torch cannot be loaded.
"""

from dataclasses import replace

import numpy as np

from csrc import interpreter
from csrc.engines import random_weights
from diffuser_fast.conformance.arithmetic import ARITHMETIC, ELEMENTARY, spread_of_sum
from diffuser_fast.conformance.error_bounds import Implied
from diffuser_fast.conformance.implied import NORMAL_ULPS, copied_tables

COPIES = 8


class Thrown:
    """Every result of a batch of equal copies, but for the first copy, is moved by a rounding of float32."""

    def __init__(self):
        self.u, self.rng = ARITHMETIC["float32"], np.random.default_rng(0)

    def once(self, y, unit=1):
        y = np.array(y)
        copies = y[len(y) // (1 + COPIES) :]
        copies *= 1 + self.u.results * unit * (2 * self.rng.integers(0, 2, copies.shape, np.int8) - 1)
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
    """What is implied for each output, by name; inputs by name."""
    if np.ndim(table) == 2:
        table = _copied(table)
    copies = {name: _copied(x) for name, x in inputs.items()}
    return {name: _implied(y) for name, y in interpreter.run(program, weights, copies, table, Thrown()).items()}


DRAWN = {}


def drawn(program, batch, seed=0):
    """Weights, inputs and table for a program, and what is implied: kept for the next instruction set's test."""
    key = program.digest(), batch, seed
    if key not in DRAWN:
        while len(DRAWN) > 30:
            del DRAWN[next(iter(DRAWN))]
        rng, weights = np.random.default_rng([batch, seed]), random_weights(program.weights, seed)
        inputs = {
            name: rng.standard_normal((batch, *program.shapes[v])).astype(np.float32)
            for name, v in program.inputs.items()
        }
        table = rng.standard_normal(program.table_width).astype(np.float32) if program.table_width else None
        DRAWN[key] = weights, inputs, table, by_program(program, weights, inputs, table)
    return DRAWN[key]


def by_plan(loop, inpainting, tape, *, seeded=False, **arguments):
    """What is implied for x, values and chain. seeded: the engine draws the tape by itself, as core/noise.py does."""
    if len(inpainting.values) > 1:
        inpainting = replace(inpainting, values=_copied(inpainting.values))
    copies, plans = _copied(tape, axis=1).astype(np.float64), tape.shape[1]
    if seeded:
        ulp = np.spacing(np.maximum(np.abs(copies[:, plans:]), 1).astype(np.float32))
        copies[:, plans:] += NORMAL_ULPS * ulp * np.random.default_rng(0).choice([-1, 1], ulp.shape)
    arguments["tables"] = copied_tables(arguments.get("tables"), _copied)
    x, values, _, chain = interpreter.plan(loop, inpainting, copies, r=Thrown(), **arguments)
    return {"x": _implied(x), "values": _implied(values), "chain": _implied(chain)}


def _copied(array, axis=0):
    return np.concatenate([array] * (1 + COPIES), axis)


def _implied(copies):
    exact, *others = np.split(copies, 1 + COPIES)
    return Implied(exact, np.stack(others) - exact)
