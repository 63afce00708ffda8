"""fuse: the same function in fewer ops."""

import numpy as np
import pytest
from core.interpreter import random_weights, run
from core.random_programs import block, elementwise

from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder
from diffuser_fast.core.spec import UNetSpec, ValueSpec

SPECS = {
    "unet": UNetSpec(16, 5, dim=8, dim_mults=(1, 2, 4)),
    "attention": UNetSpec(4, 6, dim=8, dim_mults=(1, 4, 8), attention=True),
    "other sizes": UNetSpec(6, 3, dim=12, dim_mults=(2, 1), kernel_size=3, groups=4),
    "value": ValueSpec(8, 5, dim=8, dim_mults=(1, 4)),
    "value without middle": ValueSpec(16, 4, dim=8, dim_mults=(1, 2), middle="none"),
}


def same(program, seed=0, atol=1e-11):
    """fuse(program), after checking that it computes the same."""
    fused, rng = fuse(program), np.random.default_rng(seed)
    weights = random_weights(program, seed)
    inputs = {name: rng.normal(size=(2, *program.shapes[v])) for name, v in program.inputs.items()}
    table = rng.normal(size=program.table_width)
    assert fused.outputs == program.outputs and fused.inputs == program.inputs
    found, expected = run(fused, weights, inputs, table), run(program, weights, inputs, table)
    for name in program.outputs:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol)
    return fused


def kinds(program):
    return [op.kind for op in program.ops]


@pytest.mark.parametrize("name", SPECS)
def test_networks_compute_the_same(name):
    fused = same(lower(SPECS[name]).net)
    # The dense head of a value network has an activation and a step_bias without a norm.
    assert {"group_norm", "step_bias"} & set(kinds(fused)) == ({"step_bias"} if "value" in name else set())
    assert len(fused.ops) < len(lower(SPECS[name]).net.ops) / 2


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if isinstance(spec, ValueSpec)])
def test_gradients_compute_the_same(name):
    fused = same(vjp(lower(SPECS[name]).net))
    assert not {"group_norm", "group_norm_vjp", "add"} & set(kinds(fused))
    # The dense head has an activation without a norm: the only one left to itself.
    assert kinds(fused).count("act_vjp") == 1


def test_a_whole_block_is_one_op():
    b = Builder((8, 6))
    y = b.add(b.step_bias(block(b, 0)), 0)
    fused = same(b.done(y))
    assert kinds(fused) == ["conv_block"] and fused.ops[0].attrs["table"] == 0 and len(fused.ops[0].ins) == 2


@pytest.mark.parametrize("swallowed", range(5))
def test_outputs_are_never_swallowed(swallowed):
    b = Builder((8, 6))
    u = b.conv(0, "c.conv", 8, k=3)
    n = b.group_norm(u, "c.norm", 2)
    a = b.act(n)
    t = b.step_bias(a)
    y = b.add(t, 0)
    same(b.done(y, (u, n, a, t, y)[swallowed]))


def test_a_convolution_someone_else_reads_is_kept():
    b = Builder((8, 6))
    u = b.conv(0, "c.conv", 8, k=3)
    y = b.act(b.group_norm(u, "c.norm", 2))
    fused = same(b.done(y, b.act(u)))
    assert kinds(fused) == ["conv_block", "act"] and fused.ops[0].outs == (y, u)


def test_a_reader_between_the_convolution_and_the_end_of_its_chain():
    b = Builder((8, 6))
    u = b.conv(0, "c.conv", 8, k=3)
    early = b.act(u)  # reads u before the chain ends
    y = b.add(b.act(b.group_norm(u, "c.norm", 2)), early)
    same(b.done(y))


def test_two_norms_of_one_convolution():
    b = Builder((8, 6))
    u = b.conv(0, "c.conv", 8, k=3)
    y = b.add(b.act(b.group_norm(u, "n1", 2)), b.act(b.group_norm(u, "n2", 4)))
    same(b.done(y))


def test_a_value_added_to_itself_is_no_residual():
    b = Builder((8, 6))
    x = block(b, 0)
    same(b.done(b.add(x, x)))
    b = Builder((8, 6))
    x = b.conv(0, "c", 8, k=1)
    same(b.done(b.add(x, x)))


def test_both_sides_of_an_add_are_convolutions():
    b = Builder((8, 6))
    x, y = b.conv(0, "c1", 8, k=1), b.conv(0, "c2", 8, k=3)
    fused = same(b.done(b.add(x, y)))
    assert kinds(fused) == ["conv", "conv"]


def test_a_residual_that_is_made_after_the_chain():
    b = Builder((8, 6))
    y = block(b, 0, "first")
    late = block(b, 0, "second")
    same(b.done(b.add(y, late)))


def test_one_block_feeding_two_adds():
    b = Builder((8, 6))
    y = block(b, 0, "first")
    z = b.add(y, 0)
    same(b.done(b.add(z, y)))


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed):
    same(elementwise(seed), seed, atol=1e-9)
