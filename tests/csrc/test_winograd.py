"""Winograd's algorithm: its matrices are an identity in float64, and the engine's kernels are that algorithm."""

import numpy as np
import pytest

from csrc import implied
from csrc.engines import every_isa, needs_engine
from diffuser_fast.backends import cpu
from diffuser_fast.backends.cpu import winograd
from diffuser_fast.conformance.error_bounds import judge
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder


@pytest.mark.parametrize("points", [winograd.POINTS, winograd.SHORT_POINTS])
def test_products_at_the_points_are_a_correlation(points):
    """y = A^T [(G w) . (B^T x)]: 4 outputs of 5 taps over 8 rows, and of 4 over 7."""
    rng = np.random.default_rng(0)
    taps = len(points) + 1 - 3
    x, w = rng.normal(size=len(points) + 1), rng.normal(size=taps)
    evaluated = np.vstack([np.array(points)[:, None] ** np.arange(taps), np.eye(taps)[-1]])
    outputs = np.vstack([np.array(points)[:, None] ** np.arange(4), np.eye(4)[-1]]).T
    found = outputs @ ((evaluated @ w) * (winograd.data(points) @ x))
    np.testing.assert_allclose(found, [w @ x[i : i + taps] for i in range(4)], atol=1e-12)


def test_filters_are_scaled_so_that_the_inputs_transform_has_short_numbers():
    scale = winograd.filters(winograd.POINTS)[:, 0]
    rows = winograd.data(winograd.POINTS)[:-1] / scale[:-1, None]
    np.testing.assert_allclose(rows * 4, np.round(rows * 4), atol=1e-9)


@pytest.mark.parametrize(("k", "stride", "pad", "channels", "length", "suits"), [
    (5, 1, 2, 16, 3, True), (5, 1, 2, 16, 2, False), (5, 1, 2, 15, 8, False), (5, 2, 2, 16, 8, False),
    (3, 1, 1, 16, 8, False), (5, 1, 1, 16, 8, False),
])  # fmt: skip
def test_what_it_suits(k, stride, pad, channels, length, suits):
    b = Builder((channels, length))
    program = b.done(b.conv(0, "c", 8, k=k, stride=stride, pad=pad))
    assert winograd.suits(program.ops[0], program, batch=8) == suits
    assert not winograd.suits(program.ops[0], program, batch=1)


@needs_engine
@every_isa
@pytest.mark.parametrize("batch", [1, 3, 14])
@pytest.mark.parametrize(
    ("channels", "out", "length"),
    [(16, 16, 3), (17, 33, 4), (40, 24, 5), (32, 32, 8), (130, 20, 7), (64, 5, 13), (16, 112, 37), (24, 48, 100)],
)
def test_conv_and_its_adjoint(isa, channels, out, length, batch, monkeypatch):
    """Alone, with a residual, in a block with everything; any number of threads: the same bits."""
    monkeypatch.setattr(winograd, "TILES", 1)  # whatever the batch
    b = Builder((channels, length))
    y = b.conv(0, "c", out, k=5)
    alone = b.done(y)
    b = Builder((channels, length), r=(out, length))
    added = b.done(b.add(b.conv(0, "c", out, k=5), 1))
    b = Builder((channels, length))
    block = b.done(b.step_bias(b.act(b.group_norm(b.conv(0, "c", 8 * out, k=5), "norm", 8))))
    for program in (alone, vjp(alone), fuse(added), fuse(block), fuse(vjp(block))):
        _check(program, batch, isa)


def _check(program, batch, isa):
    weights, inputs, table, bounds = implied.drawn(program, batch)

    def run(inputs, threads):
        return cpu.evaluate(program, weights, inputs, table, precision="float32-close", threads=threads, isa=isa)

    first = run(inputs, 1)
    for name, bound in bounds.items():
        verdict = judge(first[name], bound, exactness="close")
        assert verdict.passed, verdict
    for threads in (2, 3):
        found = run(inputs, threads)
        assert all(np.array_equal(found[name], first[name]) for name in first), f"{threads} threads"
    alone = run({name: x[-1:] for name, x in inputs.items()}, 1)
    assert all(np.array_equal(alone[name][0], first[name][-1]) for name in first), "a trajectory by itself differs"
