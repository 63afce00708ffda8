"""Single ops of awkward sizes and whole networks, beside the float64 interpreter, with NaN all around."""

import numpy as np
import pytest

from csrc import implied
from csrc.engines import CHEETAH, SMALL, UNEVEN, every_isa, needs_engine
from diffuser_fast.backends import cpu
from diffuser_fast.backends.cpu import algorithms
from diffuser_fast.conformance.error_bounds import judge
from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder

pytestmark = needs_engine


SEEDS = 3  # of which each output is judged together


def check(program, batch, isa, threads=(1, 2, 3)):
    cases, first = [implied.drawn(program, batch, seed) for seed in range(SEEDS)], None
    all_found = [cpu.evaluate(program, *case[:3], threads=1, isa=isa) for case in cases]
    for name in program.outputs:
        verdict = judge([found[name] for found in all_found], [case[3][name] for case in cases])
        assert verdict.passed, f"output {name}: {verdict}"
    weights, inputs, table, _ = cases[0]
    for n in threads:
        found = cpu.evaluate(program, weights, inputs, table, threads=n, isa=isa)
        first = first or found
        assert all(np.array_equal(found[name], first[name]) for name in first), f"{n} threads differ"
    for b in range(0, batch, max(1, batch // 3)):  # by itself, a trajectory gives the same bits
        alone = cpu.evaluate(program, weights, {name: x[b : b + 1] for name, x in inputs.items()}, table, isa=isa)
        assert all(np.array_equal(alone[name][0], first[name][b]) for name in first), f"trajectory {b} differs"


CONVS = [  # channels in and out, length, k, stride, pad, transposed
    (1, 1, 1, 1, 1, 0, False),
    (6, 14, 5, 5, 1, 2, False),
    (14, 6, 7, 3, 2, 1, False),
    (23, 17, 4, 5, 1, 2, False),
    (5, 33, 3, 5, 1, 2, False),
    (3, 48, 2, 5, 1, 2, False),
    (17, 31, 1, 5, 1, 2, False),
    (32, 40, 1, 3, 2, 1, False),
    (9, 100, 13, 1, 1, 0, False),
    (8, 20, 4, 4, 1, 0, False),  # a dense head: k = H
    (20, 8, 1, 4, 1, 0, True),  # and its gradient
    (7, 12, 6, 4, 2, 1, True),
    (12, 7, 1, 4, 2, 1, True),
    (16, 5, 9, 5, 1, 2, True),
    (4, 4, 4, 7, 3, 2, True),
    (300, 18, 21, 3, 1, 1, False),
    (2, 3, 40, 11, 3, 5, False),
]


@every_isa
@pytest.mark.parametrize("batch", [1, 3, 6])
@pytest.mark.parametrize("case", CONVS, ids=lambda c: "-".join(map(str, c)))
def test_conv(isa, batch, case):
    channels, out, length, k, stride, pad, transposed = case
    b = Builder((channels, length))
    y = b.conv(0, "c", out, k=k, stride=stride, pad=pad, transposed=transposed)
    check(b.done(y), batch, isa)


@every_isa
@pytest.mark.parametrize("length", [1, 2, 5, 8, 9])
def test_the_adjoint_of_a_strided_conv(isa, length):
    """Its length is ambiguous, and the last inputs may meet no tap."""
    b = Builder((6, length))
    program = vjp(b.done(b.conv(0, "c", 10, k=3, stride=2, pad=1)))
    check(program, 3, isa)


@every_isa
@pytest.mark.parametrize(("channels", "groups"), [(8, 8), (24, 8), (32, 8), (48, 4), (6, 1), (96, 8)])
@pytest.mark.parametrize("length", [1, 3, 16, 37])
def test_conv_block(isa, channels, groups, length):
    """Fused with everything: a second output, the step bias, the residual; gradients as well."""
    b = Builder((channels, length))
    y = b.add(b.step_bias(b.act(b.group_norm(b.conv(0, "c", channels, k=5), "norm", groups))), 0)
    program = b.done(b.conv(y, "out", 3, k=1))
    for p in (program, fuse(program), vjp(program), fuse(vjp(program))):
        check(p, 2, isa)


@every_isa
@pytest.mark.parametrize(("channels", "length"), [(1, 1), (7, 5), (16, 17), (35, 3)])
def test_ops_by_element(isa, channels, length):
    b = Builder((channels, length), r=(channels, length))
    both = b.concat(b.act(0), b.add(0, 1))
    tail = b.slice(both, channels // 2, channels)
    again = b.concat(tail, tail)  # the same value twice: this one is copied
    program = b.done(b.step_bias(again), b.channel_norm(tail, "norm"), both)
    check(program, 3, isa)


@every_isa
@pytest.mark.parametrize(("head", "heads", "length"), [(32, 4, 4), (8, 2, 19), (20, 3, 5), (3, 1, 1)])
def test_attention(isa, head, heads, length):
    b = Builder((3 * head * heads, length))
    program = b.done(b.emit("linear_attention", (0,), (head * heads, length), heads=heads, q_scale=0.3))
    check(program, 3, isa)


@every_isa
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("specs", [CHEETAH, SMALL, UNEVEN], ids=["cheetah", "small", "uneven"])
def test_networks(isa, specs, fused):
    for spec in specs:
        program = lower(spec).net
        check(fuse(program) if fused else program, 3, isa)
    check(fuse(vjp(program)) if fused else vjp(program), 3, isa)


@every_isa
@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize(
    ("channels", "out", "length", "k"), [(5, 16, 4, 5), (40, 32, 9, 3), (16, 48, 1, 5), (33, 16, 2, 1)]
)
def test_an_adjoint_with_its_convolutions_weights(isa, batch, channels, out, length, k, monkeypatch):
    """Large convolutions share one copy of their weights with their adjoints (csrc/cpu/dot_adjoint.inl.h)."""
    monkeypatch.setattr(algorithms, "SHARED_FROM", 0)
    b = Builder((out, length))  # the adjoint has these channels
    program = vjp(b.done(b.act(b.group_norm(b.conv(0, "c", 8 * channels, k=k), "norm", 8))))
    check(program, batch, isa)
    check(fuse(program), batch, isa)
    b = Builder((out, length))
    check(vjp(b.done(b.conv(b.conv(0, "a", channels, k=3, stride=2, pad=1), "b", out, k=k))), batch, isa)


@every_isa
def test_large_means_do_not_hurt_the_variance(isa):
    """Two passes: 1e4 + small numbers are normalised as well as their mean in float32 is known."""
    b = Builder((16, 24))
    program = b.done(b.group_norm(0, "norm", 4))
    weights = {"norm.weight": np.ones(16, np.float32), "norm.bias": np.zeros(16, np.float32)}
    x = (1e4 + np.round(np.random.default_rng(0).standard_normal((2, 16, 24)) * 64) / 64).astype(np.float32)
    found, bounds = cpu.evaluate(program, weights, {"x": x}, isa=isa), implied.by_program(program, weights, {"x": x})
    verdict = judge(found["y"], bounds["y"])
    assert verdict.passed, verdict
