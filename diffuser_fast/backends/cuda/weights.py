"""Weights as the CUDA kernels read them: convolutions in the order of a matrix instruction (csrc/cuda/gemm.cuh).

A convolution is ``[K-step][channel out, padded to eights][16 channels in]``, a K-step being sixteen input channels of
one tap: taps are slowest, channels that do not exist are zero. Lane 4 g + t of a warp reads numbers 4 t .. 4 t + 3 of
row g, so 32 lanes read one piece of memory, in halves as in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

STEP = 16  # channels in of a K-step; places of convolutions are counted in so many numbers
COLUMNS = 8  # channels out of a matrix instruction


def pack(weight: NDArray, transposed: bool) -> NDArray[np.float32]:
    """``[out, in, k]``, or ``[in, out, k]`` if transposed, as ``[k * steps, out padded, 16]``."""
    out_in_k = np.asarray(weight, np.float32)
    out_in_k = out_in_k.transpose(1, 0, 2) if transposed else out_in_k
    out, channels, k = out_in_k.shape
    steps, columns = -(-channels // STEP), -(-out // COLUMNS) * COLUMNS
    packed = np.zeros((k, steps, columns, STEP), np.float32)
    padded = np.zeros((k, out, steps * STEP), np.float32)
    padded[..., :channels] = out_in_k.transpose(2, 0, 1)
    packed[:, :, :out] = padded.reshape(k, out, steps, STEP).transpose(0, 2, 1, 3)
    return packed.reshape(k * steps, columns, STEP)


def unpack(packed: NDArray, out: int, channels: int, transposed: bool) -> NDArray[np.float32]:
    """The inverse of ``pack``; out, channels: how many output and input channels there are."""
    steps = -(-channels // STEP)
    k_out_in = (
        packed.reshape(-1, steps, *packed.shape[1:])
        .transpose(0, 2, 1, 3)
        .reshape(len(packed) // steps, -1, steps * STEP)
    )
    out_in_k = k_out_in[:, :out, :channels].transpose(1, 2, 0)
    return np.ascontiguousarray(out_in_k.transpose(1, 0, 2) if transposed else out_in_k)


def beyond_halves(weights: Iterable[NDArray]) -> str | None:
    """A sentence if a weight is beyond what a half holds, or None."""
    largest, most = max((np.abs(w).max(initial=0) for w in weights), default=0), np.finfo(np.float16).max
    if largest <= most:
        return None
    return f"precision: fp16 holds numbers up to {most:g}, and the weights have one of {largest:g}; use 'float32'"


def packed(convolutions: Sequence[tuple[NDArray, bool]], *, exact: bool) -> tuple[NDArray, NDArray[np.int32]]:
    """All convolutions one after another, float32 if exact, else halves; and where each begins, in sixteens of numbers.

    ValueError if a weight is beyond what a half holds.
    """
    parts = [pack(weight, transposed).ravel() for weight, transposed in convolutions]
    places = np.cumsum([0, *(len(part) // STEP for part in parts)])[:-1].astype(np.int32)
    whole = np.concatenate([*parts, np.zeros(STEP, np.float32)])
    if exact:
        return whole, places
    if (reason := beyond_halves([whole])) is not None:
        raise ValueError(reason)
    return whole.astype(np.float16), places
