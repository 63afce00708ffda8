"""Noise: the published answers of Philox, the moments of the normals, and addresses that do not depend on the batch."""

import numpy as np
import pytest

from diffuser_fast.core.noise import draw, normals, philox, tape

# Known answers of Philox4x32-10, from the Random123 distribution of Salmon et al. 2011: counter, key, words.
ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return np.array([int(word, 16) for word in text.split()], np.uint32)


@pytest.mark.parametrize(("counter", "key", "answer"), ANSWERS)
def test_known_answers(counter, key, answer):
    low, high = (int(word) for word in words(key))
    np.testing.assert_array_equal(philox(words(counter), low | high << 32), words(answer))


def test_many_counters_at_once():
    counters = np.stack([words(counter) for counter, _, _ in ANSWERS])
    at_once = philox(counters, 0)
    for counter, one in zip(counters, at_once):
        np.testing.assert_array_equal(philox(counter, 0), one)


def test_normals_are_box_and_muller_of_24_bits():
    found = normals(np.array([0x000000FF, 0, 0xFFFFFFFF, 0x40000000], np.uint32))
    # The smallest uniform is 2^-24 and the largest is 1; an angle of a quarter turn has no cosine.
    np.testing.assert_allclose(found, [np.sqrt(48 * np.log(2)), 0, 0, 0], atol=1e-6)
    assert found.dtype == np.float32
    worst = normals(np.full((1, 4), 0, np.uint32))
    assert np.isfinite(worst).all() and worst.max() < 5.8


def test_moments():
    x = draw(seed=3, plan=0, entry=0, samples=64, horizon=384, transition_dim=23).astype(np.float64)
    n = x.size
    assert abs(x.mean()) < 4 / np.sqrt(n)
    assert abs(x.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs((x**3).mean()) < 4 * np.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 4 * np.sqrt(96 / n)


def test_neighbours_in_every_direction_are_uncorrelated():
    x = np.stack([tape(1, plan, 3, 8, 32, 14) for plan in range(4)]).astype(np.float64)
    for axis in range(x.ndim):
        one, other = np.delete(x, -1, axis), np.delete(x, 0, axis)
        assert abs((one * other).mean()) < 4 / np.sqrt(one.size), f"axis {axis}"


@pytest.mark.parametrize("odd", [(5, 3), (1, 1), (8, 4), (3, 7)])
def test_batch_independence(odd):
    horizon, depth = odd
    many = draw(11, 2, 5, 64, horizon, depth)
    assert many.shape == (64, horizon, depth) and many.flags.c_contiguous
    for batch in (1, 7, 63):
        np.testing.assert_array_equal(draw(11, 2, 5, batch, horizon, depth), many[:batch])


def test_a_tape_is_its_entries():
    found = tape(9, 4, rows=3, samples=2, horizon=8, transition_dim=5)
    assert found.shape == (4, 2, 8, 5) and found.dtype == np.float32
    for entry in range(4):
        np.testing.assert_array_equal(found[entry], draw(9, 4, entry, 2, 8, 5))


def test_every_part_of_the_address_matters():
    base = {"seed": 1, "plan": 2, "entry": 3, "samples": 2, "horizon": 4, "transition_dim": 5}
    changes = [{}, {"seed": 2}, {"seed": 1 + (1 << 32)}, {"plan": 3}, {"entry": 4}]
    draws = [draw(**{**base, **change}) for change in changes]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert not np.isin(one, other).all()
    assert not np.array_equal(draws[0][0], draws[0][1])


def test_seeds_are_64_bits():
    np.testing.assert_array_equal(draw(1 << 64 | 5, 0, 0, 1, 4, 4), draw(5, 0, 0, 1, 4, 4))
    assert not np.array_equal(draw((1 << 63) + 5, 0, 0, 1, 4, 4), draw(5, 0, 0, 1, 4, 4))
