"""exp, activations and their derivatives, Philox and the normals: each against float64 (or wider), bounds in ULP."""

import math

import numpy as np
import pytest

from csrc.engines import every_isa, needs_engine
from diffuser_fast.core import noise
from diffuser_fast.core.ops import ACTS

_cpu = pytest.importorskip("diffuser_fast._cpu")
pytestmark = needs_engine

EXP_ULP, MISH_ULP, SLOPE = 2, 5, 4 * 2.0**-24
RADIUS_ULP, NORMAL_ULP = 1, 6


def ulps(found, exact):
    """Distances in units of the last place of float32 at the exact value."""
    spacing = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - exact) / spacing


def call(isa, which, x):
    y = np.full(len(x) + 2, np.nan, np.float32)
    _cpu.function(isa, which, x, y[1:-1])
    assert np.isnan(y[[0, -1]]).all()
    return y[1:-1]


def samples(low, high, n=200_001):
    rng = np.random.default_rng(0)
    tiny = 10.0 ** rng.uniform(-30, 0, 2000)
    every = np.concatenate((np.linspace(low, high, n), rng.uniform(-2, 2, n), tiny, -tiny, [0.0]))
    return np.clip(every, low, high).astype(np.float32)


def mish64(x):
    e = np.exp(np.minimum(x, 40.0))
    return x * (e * (e + 2)) / (e * (e + 2) + 2)


def slope64(x):
    e = np.exp(np.minimum(x, 40.0))
    n = e * (e + 2)
    return n / (n + 2) + 4 * np.minimum(x, 40.0) * e * (1 + e) / (n + 2) ** 2


@every_isa
def test_exp(isa):
    x = samples(-87.3, 88)
    assert ulps(call(isa, 0, x), np.exp(x.astype(np.float64))).max() <= EXP_ULP


@every_isa
def test_mish(isa):
    x = samples(-87, 100)
    assert ulps(call(isa, 1, x), mish64(x.astype(np.float64))).max() <= MISH_ULP
    assert np.abs(call(isa, 1, np.float32([-88, -200, -1e30]))[:2]).max() < 1e-34


@every_isa
def test_mish_slope(isa):
    x = samples(-100, 100)
    assert np.abs(call(isa, 2, x) - slope64(x.astype(np.float64))).max() <= SLOPE
    assert (call(isa, 2, np.float32([25, 1e4, 1e30])) == 1).all()


erfc = np.vectorize(math.erfc, otypes=[np.float64])
BELL = 0.3989422804014327  # 1 / sqrt(2 pi)


def sigmoid64(x):
    return np.exp(-np.logaddexp(0, -x))


def gelu_slope64(x):
    return erfc(-x * np.sqrt(0.5)) / 2 + x * np.exp(-x * x / 2) * BELL


# Activation -> its number, the range in which its value is good to so many ULP, the function, its slope.
OTHERS = {
    "silu": (1, (-87, 100), 4, lambda x: x * sigmoid64(x), lambda x: sigmoid64(x) * (1 + x * sigmoid64(-x))),
    "relu": (2, (-100, 100), 0, lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "gelu": (3, (-12, 100), 8, lambda x: x * erfc(-x * np.sqrt(0.5)) / 2, gelu_slope64),
}


@every_isa
@pytest.mark.parametrize("act", OTHERS)
def test_other_activations(isa, act):
    number, (low, high), allowed, value, slope = OTHERS[act]
    x = samples(low, high, 20_001)
    assert ulps(call(isa, 2 * number + 1, x), value(x.astype(np.float64))).max() <= allowed
    assert np.abs(call(isa, 2 * number + 2, x) - slope(x.astype(np.float64))).max() <= SLOPE
    far = np.float32([-1e30, -1e4, -200, -0.0, 0.0, 200, 1e4, 1e30])
    np.testing.assert_allclose(call(isa, 2 * number + 1, far), np.maximum(far, 0), rtol=0, atol=1e-34)
    expected = np.where(far > 0, 1.0, np.where(far < 0, 0.0, 0.5 * (act != "relu")))
    np.testing.assert_allclose(call(isa, 2 * number + 2, far), expected, rtol=0, atol=1e-7)


@every_isa
def test_a_square_is_rounded_once(isa):
    number, x = ACTS.index("square"), samples(-100, 100, 20_001)
    np.testing.assert_array_equal(call(isa, 2 * number + 1, x), x * x)
    np.testing.assert_array_equal(call(isa, 2 * number + 2, x), 2 * x)


def test_there_is_no_other():
    x = np.zeros(3, np.float32)
    for which in (-1, 2 * len(ACTS) + 1, 1000):
        with pytest.raises(ValueError, match="isa"):
            _cpu.function("scalar", which, x, x.copy())


@every_isa
@pytest.mark.parametrize("which", range(1, 2 * len(ACTS) + 1))
def test_what_is_no_number_stays_none(isa, which):
    assert np.isnan(call(isa, which, np.full(37, np.nan, np.float32))).all()


@every_isa
@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 31])
def test_any_length(isa, n):
    x = np.linspace(-3, 3, n, dtype=np.float32)
    assert np.array_equal(call(isa, 1, x), call(isa, 1, np.tile(x, 5))[:n])


@every_isa
def test_philox_is_exact(isa):
    counter = np.random.default_rng(1).integers(0, 2**32, (257, 4), dtype=np.uint32)
    words = np.empty_like(counter)
    for seed in (0, 1, 2**32 - 1, 0x0123456789ABCDEF, 2**64 - 1):
        _cpu.philox(isa, seed, counter, words)
        assert np.array_equal(words, noise.philox(counter, seed))


def normals(isa, words):
    out = np.empty(words.shape, np.float32)
    _cpu.normals(isa, np.ascontiguousarray(words), out)
    return out


@every_isa
def test_every_radius(isa):
    """All 2^24 radii, at angle zero."""
    bits = np.arange(2**24, dtype=np.uint32)
    words = np.zeros((2**23, 4), np.uint32)
    words[:, 0::2] = (bits << np.uint32(8)).reshape(-1, 2)
    exact = np.sqrt(-2 * np.log((bits + 1.0) * 2.0**-24))
    found = normals(isa, words)[:, 0::2].reshape(-1)
    assert found[-1] == 0 and ulps(found[:-1], exact[:-1]).max() <= RADIUS_ULP


@every_isa
def test_every_angle(isa):
    """All 2^24 angles, at the largest radius."""
    bits = np.arange(2**24, dtype=np.uint32)
    words = np.zeros((2**23, 4), np.uint32)
    words[:, 1::2] = (bits << np.uint32(8)).reshape(-1, 2)
    found, radius = normals(isa, words), np.sqrt(-2 * np.log(2.0**-24))
    # Reduced to an eighth of a turn first, numpy's sine and cosine are right to the last place near their zeros too.
    eighth = (bits.astype(np.int64) + 2**20 >> 21) & 7
    rest = 2 * np.pi * (bits - (bits.astype(np.int64) + 2**20 >> 21) * 2.0**21) * 2.0**-24
    for column, shift in ((0, 2), (1, 0)):
        quarter, half = np.divmod(eighth + shift, 2)
        sine = np.where(half, np.sin(rest + np.pi / 4), np.sin(rest))
        cosine = np.where(half, np.cos(rest + np.pi / 4), np.cos(rest))
        exact = radius * np.choose(quarter & 3, (sine, cosine, -sine, -cosine))
        values = found[:, column::2].reshape(-1)
        assert (values[exact == 0] == 0).all()
        assert ulps(values[exact != 0], exact[exact != 0]).max() <= NORMAL_ULP / 2


@every_isa
def test_normals_against_core(isa):
    words = np.random.default_rng(2).integers(0, 2**32, (100_001, 4), dtype=np.uint32)
    exact = noise.normals(words).astype(np.float64)
    far = np.abs(exact) > 1e-9  # core's own cosine of a quarter turn is not quite zero
    assert ulps(normals(isa, words)[far], exact[far]).max() <= NORMAL_ULP


def test_arguments_are_checked():
    y = np.empty(3, np.float32)
    with pytest.raises(ValueError, match="found 3 of format d"):
        _cpu.function("scalar", 0, np.zeros(3), y)
    with pytest.raises(ValueError, match="not dense"):
        _cpu.function("scalar", 0, np.zeros(6, np.float32)[::2], y)
    with pytest.raises(ValueError, match="isa"):
        _cpu.function("mmx", 0, y, y)
