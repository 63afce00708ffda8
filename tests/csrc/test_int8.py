"""Convolutions of whole numbers: what is stored, and that the engine's sums are those whole numbers' exactly."""

import numpy as np
import pytest

from csrc import interpreter
from csrc.engines import every_isa, needs_engine, random_weights
from diffuser_fast.backends import cpu, pack
from diffuser_fast.core.program import Builder

SEVEN_BITS = {"avx2", "avx512"}  # where pairs of products of unsigned bytes are added up in 16 bits
CASES = [  # channels, out, length, k, stride, pad
    (64, 16, 4, 5, 1, 2), (68, 33, 3, 5, 1, 2), (64, 20, 8, 3, 2, 1), (132, 64, 13, 4, 2, 1), (64, 24, 5, 2, 1, 0),
    (256, 48, 100, 5, 1, 2),
]  # fmt: skip


def stored(weight, transposed):
    """Whole numbers and scales, as ``pack.conv_int8`` says, by numpy: those of ``weight`` in its own order of axes."""
    axes, out = ((0, 2), 1) if transposed else ((1, 2), 0)
    scales = np.abs(weight).max(axes) / np.float32(127)
    shape = [1, 1, 1]
    shape[out] = -1
    return np.rint(weight / np.where(scales > 0, scales, 1).reshape(shape)), scales.astype(np.float64)


def on_grid(x, isa):
    """x ``[B, C, H]`` as whole numbers on a grid for each B, zero being 0; and the grid's steps."""
    levels = np.float32(127 if isa in SEVEN_BITS else 255)
    low, high = np.minimum(x.min((1, 2), keepdims=True), 0), np.maximum(x.max((1, 2), keepdims=True), 0)
    per_step = levels / (high - low)
    zero = np.floor(np.float32(0.5) - low * per_step)
    return np.rint(np.clip(x * per_step, -zero, levels - zero)), ((high - low) / levels).astype(np.float64), zero


def case(channels, out, length, k, stride, pad, transposed, batch=5):
    b = Builder((channels, length))
    program = b.done(b.conv(0, "c", out, k=k, stride=stride, pad=pad, transposed=transposed))
    x = np.random.default_rng(1).standard_normal((batch, channels, length)) * [[[1.0]], [[9]], [[0.1]], [[1]], [[30]]]
    return program, random_weights(program.weights), (x + np.linspace(-1, 1, channels)[:, None]).astype(np.float32)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("out", "channels", "k"), [(1, 4, 1), (14, 36, 5), (33, 128, 3)])
def test_words_hold_four_channels(out, channels, k, transposed):
    shape = (channels, out, k) if transposed else (out, channels, k)
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    if not transposed:
        weight[0] = 0
    blocks = -(-out // 16)
    words = blocks * 16 * k * pack.pitch(channels // 4)
    packed = pack.conv_int8(weight, transposed)
    assert packed.dtype == np.float32 and packed.size == words + blocks * 16 * (1 + k)
    whole, scales = stored(weight, transposed)
    found = pack.unpack_conv(packed[:words].reshape(blocks, k, -1, 16), out, channels // 4, False).view(np.uint32)
    for i in range(4):
        byte = (found >> 8 * i).astype(np.uint8).view(np.int8)
        assert np.array_equal(byte, whole.transpose(1, 0, 2)[:, i::4] if transposed else whole[:, i::4])
    numbers = packed[words:].reshape(blocks, 1 + k, 16).transpose(0, 2, 1).reshape(-1, 1 + k)
    np.testing.assert_allclose(numbers[:out, 0], scales, rtol=1e-7)
    assert np.array_equal(numbers[:out, 1:], whole.sum(0 if transposed else 1)) and not numbers[out:].any()


@needs_engine
@every_isa
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("channels", "out", "length", "k", "stride", "pad"), CASES)
def test_sums_are_exact(isa, channels, out, length, k, stride, pad, transposed):
    """Against whole numbers: what is left is the rounding of five float32 operations after the sum."""
    program, weights, x = case(channels, out, length, k, stride, pad, transposed)
    (whole, scales), (u, steps, zero) = stored(weights["c.weight"], transposed), on_grid(x, isa)

    def convolved(x, w):
        return interpreter.run(program, {"c.weight": w, "c.bias": np.zeros(out)}, {"x": x})["y"]

    unit, bias = steps * scales[:, None], weights["c.bias"][:, None]
    exact = unit * convolved(u, whole) + bias
    # What is rounded: sum u q (of bytes), zero sum q, their difference, a step times a scale, and the result.
    zero = zero - 128 if isa.startswith("neon") else zero  # signed bytes
    large = np.abs(convolved(u + zero, whole)) + np.abs(zero * convolved(np.ones_like(u), whole))
    found = [cpu.evaluate(program, weights, {"x": x}, precision="int8", threads=n, isa=isa)["y"] for n in (1, 2, 3)]
    assert (np.abs(found[0] - exact) <= 2.0**-24 * (4 * unit * large + np.abs(exact) + np.abs(bias))).all()
    assert all(np.array_equal(y, found[0]) for y in found)
    alone = cpu.evaluate(program, weights, {"x": x[3:4]}, precision="int8", isa=isa)["y"]
    assert np.array_equal(alone[0], found[0][3])


@needs_engine
@every_isa
@pytest.mark.parametrize(("channels", "k", "stride", "wide"), [(60, 5, 1, False), (66, 5, 1, False), (64, 1, 1, False)]
                         + [(64, 3, 2, True), (64, 5, 1, True)])  # fmt: skip
def test_what_is_of_no_whole_numbers(isa, channels, k, stride, wide):
    """What is of one tap is of bfloat16."""
    b = Builder((channels, 6))
    program = b.done(b.conv(0, "c", 8, k=k, stride=stride, pad=k // 2))
    weights, x = random_weights(program.weights), np.random.default_rng(0).standard_normal((1, channels, 6))
    other = "bf16" if k == 1 else "float32"
    exact, found = (cpu.evaluate(program, weights, {"x": x}, precision=p, isa=isa)["y"] for p in (other, "int8"))
    assert np.array_equal(exact, found) != wide


@needs_engine
@every_isa
@pytest.mark.parametrize(("length", "threads"), [(6, 1), (40, 1), (40, 2)])  # two threads share the rows
def test_zeros_and_what_is_tiny_or_not_finite(isa, length, threads):
    program, weights, x = case(64, 16, length, 5, 1, 2, False)
    for i, scale in enumerate((0, 1e-35, -1, 1)):
        x[i] *= scale
    x[2] = -np.abs(x[2])  # below zero all of them
    for bad in (np.nan, np.inf, -np.inf):
        x[3, 17, length - 4] = bad
        found = cpu.evaluate(program, weights, {"x": x}, precision="int8", threads=threads, isa=isa)["y"]
        assert not np.isfinite(found[3]).any() and np.isfinite(np.delete(found, 3, 0)).all()
        for i in (0, 1):
            assert np.array_equal(found[i], np.repeat(weights["c.bias"][:, None], length, 1))
        exact = cpu.evaluate(program, weights, {"x": x}, isa=isa)["y"]
        assert np.abs(found[2] - exact[2]).max() < 0.1 * np.abs(exact[2]).max()
