"""Time-embedding tables: the embedding as printed, and a table row for each denoising step, whatever the others are."""

import numpy as np
import pytest
from core.interpreter import random_weights, run

from diffuser_fast.core.embedding import Embedding
from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import time_tables
from diffuser_fast.core.spec import UNetSpec, ValueSpec


def test_the_embedding_is_sines_then_cosines():
    e = Embedding.of_width(8)(np.array([0, 3]))
    frequencies = [1, 10 ** (-4 / 3), 10 ** (-8 / 3), 1e-4]
    np.testing.assert_allclose(e[0], [0] * 4 + [1] * 4)
    np.testing.assert_allclose(e[1], [*np.sin(np.multiply(3, frequencies)), *np.cos(np.multiply(3, frequencies))])


@pytest.mark.parametrize("spec", [UNetSpec(8, 5, dim=8, dim_mults=(1, 2)), ValueSpec(8, 5, dim=8, dim_mults=(1, 4))])
def test_a_row_is_the_time_program_at_its_step(spec):
    """The interpreter of the tests evaluates it op by op, as any other program."""
    time = lower(spec).time
    weights, t = random_weights(time, 0), np.array([19, 3, 0])
    found = time_tables(time, weights, t, spec.time)
    expected = run(time, weights, {"x": spec.time(t)[:, :, None]})["y"]
    assert found.shape == (3, lower(spec).net.table_width) and found.dtype == np.float64
    np.testing.assert_allclose(found, expected[:, :, 0], rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(time_tables(time, weights, t[1:2], spec.time)[0], found[1], rtol=0, atol=1e-12)
