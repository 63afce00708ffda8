"""Activations by name wherever a kernel computes one, and step biases that differ from trajectory to trajectory."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from interpreted.judged import launched

from diffuser_fast import conformance as c
from diffuser_fast.backends.gpu.refs import Ref, ValueRef
from diffuser_fast.backends.triton.network import network_launches
from diffuser_fast.backends.triton.target import Target
from diffuser_fast.backends.triton.tiling import Tiling
from diffuser_fast.backends.triton.weights import Store
from diffuser_fast.core.ops import ACTS
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder
from diffuser_fast.kernels.act import act, act_slope


@triton.jit
def both(x, y, slope, N: tl.constexpr, ACT: tl.constexpr, EXACT: tl.constexpr):
    i = tl.arange(0, N)
    v = tl.load(x + i)
    tl.store(y + i, act(v, ACT, EXACT))
    tl.store(slope + i, act_slope(v, ACT, EXACT))


def exact(name, x):
    """Value and derivative in float64."""
    x = x.double().requires_grad_()
    y = {
        "mish": lambda: torch.nn.functional.mish(x),
        "silu": lambda: torch.nn.functional.silu(x),
        "relu": lambda: torch.relu(x),
        "gelu": lambda: 0.5 * x * torch.erfc(-x / 2**0.5),
        "square": lambda: x * x,
    }[name]()
    y.sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("precise", [True, False])
def test_values_and_slopes(name, precise):
    """Relative to each number in the tails too; slopes near their zeros relative to a twentieth."""
    count = 1 << 15
    x = torch.linspace(-12.5, 12.5, count)
    y, slope = torch.empty(count), torch.empty(count)
    both[(1,)](x, y, slope, N=count, ACT=name, EXACT=precise)
    value, derivative = exact(name, x)
    few = 16 * 2.0**-24  # half a dozen operations and two exponentials of 1 ULP, a polynomial of 3.2e-7
    assert ((y - value).abs() <= few * value.abs()).all()
    assert ((slope - derivative).abs() <= 2 * few * derivative.abs().clamp(min=0.05)).all()
    tail = (x < -5) & (derivative != 0)
    assert ((slope - derivative).abs() <= 2 * few * derivative.abs())[tail].all()


@pytest.mark.parametrize("name", [name for name in ACTS if name != "square"])
def test_far_out_they_stay_finite(name):
    x = torch.tensor([0.0, -0.0, 200.0, -200.0, 1e30, -1e30, 3e38, -3e38])
    y, slope = torch.empty(8), torch.empty(8)
    both[(1,)](x, y, slope, N=8, ACT=name, EXACT=True)
    np.testing.assert_allclose(y[[2, 4, 6]], x[[2, 4, 6]], rtol=1e-6)
    np.testing.assert_allclose(slope[[2, 4, 6]], 1, rtol=1e-6)
    assert slope.isfinite().all() and (slope[[3, 5, 7]].abs() < 1e-6).all()
    assert y[:2].abs().max() == 0 and y[3].abs() < 1e-6


def value_network(name):
    """Two convolutions with a norm, and a dense head: every place that an activation or its gradient has."""
    b = Builder((6, 8))
    x = b.step_bias(b.act(b.group_norm(b.conv(0, "a", 16, k=5), "na", 8), name))
    x = b.act(b.step_bias(b.conv(x, "b", 10, k=3)), name)
    x = b.act(b.group_norm(b.conv(x, "c", 16, k=5), "nc", 4), name)
    return b.done(b.conv(x, "head", 1, k=8, pad=0))


def modes(program, case):
    refs = {name: ValueRef(Ref(name), 1) for name in program.inputs}
    made = network_launches(
        program, case.weights, case.batch, refs, arena="arena", store=Store("float32"), target=Target()
    )  # fmt: skip
    return {launch.constants["MODE"]: launch.constants["ACT"] for launch in made.launches}


@pytest.mark.parametrize("name", ACTS)
def test_a_network_and_its_gradient(name):
    program = value_network(name)
    for case in (
        c.OpCase(f"value network with {name}", fuse(program), batch=3),
        c.OpCase(f"gradient with {name}", fuse(vjp(program)), batch=3),
    ):
        launched(case)
        kinds = {"norm_act": name, "act": name, "none": "none"}
        if "dx" in case.program.outputs:
            kinds |= {"norm_act_vjp": name, "act_vjp": name}
        assert modes(case.program, case) == kinds


def per_sample(case):
    return np.random.default_rng(0).normal(size=(case.batch, case.program.table_width)).astype(np.float32)


CASES = {case.name: case for case in c.op_cases() if case.program.table_width}


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_a_row_of_the_table_for_each_sample(case):
    table = per_sample(case)
    found = launched(case, table=table)
    shared = launched(case, table=table[0])
    for name in found:  # the first sample's row is its own, the others differ
        if name == "y":
            np.testing.assert_array_equal(found[name][0], shared[name][0])
            assert np.abs(found[name][1:] - shared[name][1:]).max() > 0.1


class Cut(Target):
    """The interpreter with tiles of two times and the sum split in two."""

    def tiling(self, problem):
        return Tiling(1, 2, -(-problem.length // 2) if not problem.norm else 4, 8, 16, 2, 4, 1)


def test_a_row_for_each_sample_in_the_epilogue_of_partials():
    b = Builder((24, 8))
    x = b.step_bias(b.act(b.group_norm(b.conv(0, "a", 16, k=5), "n", 8)))
    case = c.OpCase("blocks with tables", fuse(b.done(b.act(b.step_bias(b.conv(x, "b", 24, k=3)), "gelu"))), batch=3)
    launched(case, Cut(), table=per_sample(case))
