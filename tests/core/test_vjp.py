"""vjp: gradients against finite differences, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from core.interpreter import random_weights, run
from core.random_programs import elementwise

from diffuser_fast.core.lower import lower
from diffuser_fast.core.ops import conv_length
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder
from diffuser_fast.core.spec import UNetSpec, ValueSpec


def check(program, seed=0, epsilon=1e-5, rtol=1e-6):
    """The gradient along random directions, against central differences in float64."""
    rng = np.random.default_rng(seed)
    weights = random_weights(program, seed)
    table = rng.normal(size=program.table_width)
    x = rng.normal(size=(2, *program.shapes[program.inputs["x"]]))
    dy = rng.normal(size=(2, *program.shapes[program.outputs["y"]]))
    gradient = vjp(program)
    found = run(gradient, weights, {"x": x, "dy": dy}, table)
    np.testing.assert_array_equal(found["y"], run(program, weights, {"x": x}, table)["y"])
    dx = found["dx"]
    for _ in range(5):
        v = rng.normal(size=x.shape)
        above, below = (run(program, weights, {"x": x + s * epsilon * v}, table)["y"] for s in (1, -1))
        expected = ((above - below) / (2 * epsilon) * dy).sum((1, 2))
        scale = np.abs(dx).max() * np.sqrt(v.size)
        np.testing.assert_allclose((dx * v).sum((1, 2)), expected, rtol=0, atol=rtol * scale)
    return gradient


@pytest.mark.parametrize("middle", ["narrowing", "none"])
@pytest.mark.parametrize("horizon", [4, 8, 20, 32])
def test_value_networks(horizon, middle):
    check(lower(ValueSpec(horizon, 5, dim=8, dim_mults=(1, 4), middle=middle)).net, horizon)


@pytest.mark.parametrize("horizon", [1, 3, 7])
def test_horizons_that_do_not_halve_evenly(horizon):
    check(lower(ValueSpec(horizon, 5, dim=8, dim_mults=(1, 4))).net, horizon)


def test_a_denoiser_without_attention():
    gradient = check(lower(UNetSpec(8, 5, dim=8, dim_mults=(1, 2, 4))).net)
    assert {"slice", "concat"} <= {op.kind for op in gradient.ops}


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 3, 4, 5])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_convolutions(stride, k, transposed, length):
    b = Builder((3, length))
    pad = (k - 1) // 2
    if conv_length(length, k, stride, pad, transposed) < 1:
        pytest.skip("no output")
    check(b.done(b.conv(0, "c", 4, k=k, stride=stride, pad=pad, transposed=transposed)))


def test_a_value_used_twice_gathers_both_gradients():
    b = Builder((8, 4))
    x = b.act(b.conv(0, "c", 8, k=3))
    check(b.done(b.add(b.concat(x, b.conv(x, "d", 4, k=1)), b.concat(b.conv(x, "e", 4, k=1), x))))


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_and_their_fused_gradients(seed):
    program = elementwise(seed)
    program = replace(program, outputs={"y": len(program.shapes) - 1})
    gradient = check(program, seed, rtol=1e-5)
    rng = np.random.default_rng(seed)
    inputs = {name: rng.normal(size=(2, *gradient.shapes[v])) for name, v in gradient.inputs.items()}
    weights, table = random_weights(program, seed), rng.normal(size=program.table_width)
    found, expected = (run(program, weights, inputs, table) for program in (fuse(gradient), gradient))
    for name, wanted in expected.items():
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=1e-9 * max(1, np.abs(wanted).max()))


def test_an_input_that_is_the_output():
    b = Builder((3, 4))
    found = run(vjp(b.done(b.add(0, 0))), {}, {"x": np.ones((1, 3, 4)), "dy": np.full((1, 3, 4), 5.0)})
    assert (found["y"] == 2).all() and (found["dx"] == 10).all()


def test_dead_ops_and_their_weights_are_left_out():
    b = Builder((8, 4))
    b.act(b.conv(0, "unused", 8, k=1))
    gradient = vjp(b.done(b.conv(0, "used", 8, k=1)))
    assert set(gradient.weights) == {"used.weight", "used.bias"}
    assert all("unused.weight" not in op.weights for op in gradient.ops)


def test_what_has_no_rule_is_named():
    with pytest.raises(ValueError, match="no gradient rule for linear_attention"):
        vjp(lower(UNetSpec(4, 5, dim=8, dim_mults=(1,), attention=True)).net)
    with pytest.raises(ValueError, match="no gradient rule for conv_block"):
        vjp(fuse(lower(ValueSpec(8, 5, dim=8, dim_mults=(1, 4))).net))
