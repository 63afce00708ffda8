"""Branches: one Program computes what several evaluations and a weighted sum would."""

import numpy as np
import pytest
from core.interpreter import random_weights, run

from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import branch_weights, branches, fuse
from diffuser_fast.core.program import Builder
from diffuser_fast.core.spec import UNetSpec


@pytest.mark.parametrize("film", [False, True])
def test_a_weighted_sum_of_evaluations(film):
    program = lower(UNetSpec(4, 3, dim=8, dim_mults=(1, 2), film=film)).net
    weights, gains = random_weights(program, 0), (-0.2, 0.5, 0.7)
    rng = np.random.default_rng(1)
    x, table = rng.normal(size=(2, 3, 4)), rng.normal(size=3 * program.table_width)
    parts = np.split(table, 3)
    expected = sum(g * run(program, weights, {"x": x}, t)["y"] for g, t in zip(gains, parts))
    made, mixed = branches(program, gains), branch_weights(program, weights, gains)
    assert made.table_width == 3 * program.table_width and set(mixed) == set(made.weights)
    for one in (made, fuse(made)):
        found = run(one, mixed, {"x": x}, table)["y"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_program_that_ends_otherwise():
    b = Builder((4, 3))
    with pytest.raises(ValueError, match="the last op must be the convolution"):
        branches(b.done(b.act(b.conv(0, "c", 4, k=1))), (0.5, 0.5))
