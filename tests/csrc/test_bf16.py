"""Weights in bfloat16: what is stored, and that nothing but rounding to it happens to a convolution."""

import numpy as np
import pytest

from csrc import implied
from csrc.engines import every_isa, needs_engine, random_weights
from diffuser_fast.backends import cpu, pack
from diffuser_fast.conformance.error_bounds import judge
from diffuser_fast.core.program import Builder


def rounded(values):
    return pack.from_bf16(pack.to_bf16(values))


def test_rounding_is_to_the_nearest_and_ties_are_even():
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8 + 2**-20, 0.0, 3e38], np.float32)
    expected = np.array([1.0, 1.0, 1 + 4 * 2**-8, 1 + 2**-7, -1.0, 0.0, 3e38])
    np.testing.assert_allclose(rounded(values)[:-1], expected[:-1], rtol=0, atol=0)
    assert abs(rounded(values)[-1] / 3e38 - 1) <= 2**-8


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("out", "channels", "k"), [(1, 2, 1), (14, 34, 5), (33, 128, 3)])
def test_words_hold_two_channels(out, channels, k, transposed):
    shape = (channels, out, k) if transposed else (out, channels, k)
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    words = pack.unpack_conv(pack.conv_bf16(weight, transposed), out, channels // 2, False).view(np.uint32)
    found = np.empty((out, channels, k), np.float32)
    found[:, ::2], found[:, 1::2] = pack.from_bf16(words & 0xFFFF), pack.from_bf16(words >> 16)
    np.testing.assert_array_equal(found.transpose(1, 0, 2) if transposed else found, rounded(weight))


@needs_engine
@every_isa
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("channels", "out", "length", "k", "stride", "pad"),
    [(32, 16, 4, 5, 1, 2), (34, 33, 3, 5, 1, 2), (64, 20, 8, 3, 2, 1), (40, 24, 5, 1, 1, 0), (66, 64, 13, 4, 2, 1)]
    + [(256, 48, 100, 5, 1, 2)],
)
def test_conv(isa, channels, out, length, k, stride, pad, transposed):
    """Against float64 on the rounded operands: sums are as good as float32's."""
    b = Builder((channels, length))
    program = b.done(b.conv(0, "c", out, k=k, stride=stride, pad=pad, transposed=transposed))
    weights = random_weights(program.weights)
    x = np.random.default_rng(1).standard_normal((5, channels, length)).astype(np.float32)
    seen = {"c.weight": rounded(weights["c.weight"]), "c.bias": weights["c.bias"]}
    bound = implied.by_program(program, seen, {"x": rounded(x) if isa.endswith("_bf16") else x})["y"]
    found = [cpu.evaluate(program, weights, {"x": x}, precision="bf16", threads=n, isa=isa)["y"] for n in (1, 2, 3)]
    assert judge(found[0], bound).passed
    assert all(np.array_equal(y, found[0]) for y in found)
    alone = cpu.evaluate(program, weights, {"x": x[3:4]}, precision="bf16", isa=isa)["y"]
    assert np.array_equal(alone[0], found[0][3])


@needs_engine
@every_isa
@pytest.mark.parametrize(("channels", "wide"), [(31, False), (33, False), (30, False), (32, True)])
def test_narrow_inputs_keep_their_digits(isa, channels, wide):
    b = Builder((channels, 6))
    program = b.done(b.conv(0, "c", 8, k=5))
    weights, x = random_weights(program.weights), np.ones((1, channels, 6), np.float32)
    exact, found = (cpu.evaluate(program, weights, {"x": x}, precision=p, isa=isa)["y"] for p in ("float32", "bf16"))
    assert np.array_equal(exact, found) != wide
