"""Each layout of weights has its inverse, and pads with zeros."""

import numpy as np
import pytest

from diffuser_fast.backends import pack


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("out", "channels", "k"), [(1, 1, 1), (14, 3, 5), (16, 16, 3), (33, 7, 4), (64, 2, 1), (17, 128, 5)]
)
def test_conv(out, channels, k, transposed):
    shape = (channels, out, k) if transposed else (out, channels, k)
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    packed = pack.conv(weight, transposed)
    assert packed.shape == (-(-out // 16), k, pack.pitch(channels), 16) and packed.flags.c_contiguous
    assert np.array_equal(pack.unpack_conv(packed, out, channels, transposed), weight)
    o, i, j = out - 1, channels - 1, k - 1
    assert packed[o // 16, j, i, o % 16] == (weight[i, o, j] if transposed else weight[o, i, j])
    assert np.count_nonzero(packed) == np.count_nonzero(weight)


@pytest.mark.parametrize("channels", [1, 15, 16, 17, 48])
def test_vector(channels):
    values = np.random.default_rng(0).standard_normal(channels).astype(np.float32)
    packed = pack.vector(values)
    assert packed.size % 16 == 0 and not packed[channels:].any()
    assert np.array_equal(pack.unpack_vector(packed, channels), values)


def test_together():
    arrays = [np.arange(n, dtype=np.float32).reshape(-1, 1) + n for n in (1, 16, 17, 3)]
    views = pack.contiguous(arrays)
    for view, array in zip(views, arrays, strict=True):
        assert np.array_equal(view, array) and view.ctypes.data % 64 == 0
