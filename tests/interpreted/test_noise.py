"""Noise: words to the bit, normals to the stated bound, against core/noise.py."""

import numpy as np
import pytest
import torch

from diffuser_fast.core import noise as law
from diffuser_fast.kernels import noise, trajectory

SEEDS = (0, 1, 2**32 - 1, 0xFEDCBA9876543210, 2**64 - 1)
ULPS = 4  # of a normal, the radius included; near a multiple of pi units of 2^-24 of the radius


def address(seed, plan=0, candidates=2**31 - 1):
    words = np.array([seed & 0xFFFFFFFF, seed >> 32, plan & 0xFFFFFFFF, candidates], np.uint32)
    return torch.from_numpy(words.view(np.int32).copy())


@pytest.mark.parametrize("seed", SEEDS)
def test_words_are_those_of_philox(seed):
    counters = np.random.default_rng(0).integers(0, 2**32, (300, 4), dtype=np.uint32)
    counters[0], counters[1] = 0, 2**32 - 1
    out = torch.zeros(300, 4, dtype=torch.int32)
    noise.words[(2,)](torch.from_numpy(counters.view(np.int32)), address(seed), out, N=300, BLOCK=256)
    np.testing.assert_array_equal(out.numpy().view(np.uint32), law.philox(counters, seed))


def drawn(seed, plan, batch, horizon, depth):
    """The first noise of a plan, as ``begin`` writes it where nothing is inpainted."""
    size = horizon * depth
    x, bad = torch.full((batch, horizon, depth), torch.nan), torch.zeros(1, dtype=torch.int32)
    nothing = torch.zeros(size, dtype=torch.int32), torch.zeros(size)
    trajectory.begin[(batch, 1)](
        x, None, None, address(seed, plan), *nothing, None, bad,
        SIZE=size, INPAINT_EACH=False, CHAIN=0, R=7, BLOCK=1 << (size - 1).bit_length(), PDL=False,
    )  # fmt: skip
    assert bad.item() == 7
    return x.numpy()


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_are_within_the_bound(seed):
    found, expected = drawn(seed, 2**31 + 5, 3, 65, 23), law.draw(seed, 2**31 + 5, 0, 3, 65, 23)
    error = np.abs(found.astype(np.float64) - expected)
    assert (error <= ULPS * np.spacing(np.maximum(np.abs(expected), 1.0).astype(np.float32))).all()
    assert abs(found.mean()) < 0.1 and abs(found.std() - 1) < 0.1


def test_sixty_four_plans_are_sixty_four_single_plans():
    np.testing.assert_array_equal(drawn(3, 1, 64, 4, 5)[:5], drawn(3, 1, 5, 4, 5))
