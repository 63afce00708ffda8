"""Noise addressed by what it is for, so that any engine, thread or batch draws the same number.

Philox4x32-10 (Salmon et al. 2011) turns an address into four 32-bit words; Box and Muller (1958) turn two words into
two normals. The address: key = seed (64 bits); counter = (block, sample, entry, plan), where block counts groups of
four elements of ``[H, D]`` in order; entry 0 is the first noise, entry k + 1 that of denoising step k. Plans are
numbered by situation and samples by candidate, so a situation's noise does not depend on what is planned beside it.

The uniforms have 24 bits, so they are exact in float32 on every device; what remains is each device's log, sine and
cosine. This module computes them in float64 and rounds once: engines agree with it to a bound they state.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)


def philox(counter: NDArray[np.uint32], seed: int) -> NDArray[np.uint32]:
    """Ten rounds of Philox4x32: counters ``[..., 4]`` to random words ``[..., 4]``, both uint32."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    for _ in range(10):
        m0, m1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (m1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), m1 & _LOW,
            (m0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1), m0 & _LOW,
        )  # fmt: skip
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack((c0, c1, c2, c3), axis=-1).astype(np.uint32)


def normals(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Words ``[..., 4]`` to standard normals ``[..., 4]``: pairs (0, 1) and (2, 3), cosine then sine."""
    bits = words >> np.uint32(8)
    radius = np.sqrt(-2 * np.log((bits[..., 0::2].astype(np.float64) + 1) * 2.0**-24))
    angle = 2 * np.pi * (bits[..., 1::2].astype(np.float64) * 2.0**-24)
    found = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    return found.reshape(words.shape).astype(np.float32)


def draw(
    seed: int, plan: int, entry: int, samples: int, horizon: int, transition_dim: int, candidates: int | None = None
) -> NDArray[np.float32]:  # fmt: skip
    """One entry of a plan's noise: float32 ``[samples, H, D]``.

    candidates: samples of one situation (default: all); the next situation's are those of plan number ``plan + 1``.
    """
    candidates = candidates or samples
    elements = horizon * transition_dim
    blocks = -(-elements // 4)
    counter = np.zeros((samples, blocks, 4), np.uint32)
    counter[..., 0] = np.arange(blocks)
    counter[..., 1] = np.arange(samples)[:, None] % candidates
    counter[..., 2] = entry
    counter[..., 3] = plan + np.arange(samples)[:, None] // candidates & 0xFFFFFFFF
    elementwise = normals(philox(counter, seed)).reshape(samples, -1)[:, :elements]
    return np.ascontiguousarray(elementwise).reshape(samples, horizon, transition_dim)


def tape(
    seed: int, plan: int, rows: int, samples: int, horizon: int, transition_dim: int, candidates: int | None = None
) -> NDArray[np.float32]:  # fmt: skip
    """All the noise of a plan of ``rows`` denoising steps: float32 ``[rows + 1, samples, H, D]``; see ``draw``."""
    shape = (samples, horizon, transition_dim)
    return np.stack([draw(seed, plan, entry, *shape, candidates) for entry in range(rows + 1)])
