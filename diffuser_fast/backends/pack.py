"""How weights lie in an engine's memory; each layout has its inverse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 16  # output channels side by side: the widest vector, and a cache line
PITCH_EVERY, PITCH_EXTRA = 64, 4
_LINE = 64  # bytes
_PAGE = 2 << 20


def pitch(channels: int) -> int:
    """Vectors from one tap to the next: never a multiple of 4 KiB, lest taps fall on each other in the cache."""
    return channels + PITCH_EXTRA if channels % PITCH_EVERY == 0 else channels


def conv(weight: NDArray, transposed: bool) -> NDArray[np.float32]:
    """A convolution's ``[out, in, k]`` (``[in, out, k]`` if transposed) as ``[out / 16, k, pitch(in), 16]``.

    A kernel reads 16 output channels of one tap and one input channel as one vector, and walks forward through
    memory. Taps keep their numbers: what a transposed convolution does with them is geometry, not layout.
    """
    weight = np.asarray(weight, np.float32)
    out_in_k = weight.transpose(1, 0, 2) if transposed else weight
    out, channels, k = out_in_k.shape
    blocks = -(-out // BLOCK)
    packed = np.zeros((blocks * BLOCK, pitch(channels), k), np.float32)
    packed[:out, :channels] = out_in_k
    return np.ascontiguousarray(packed.reshape(blocks, BLOCK, -1, k).transpose(0, 3, 2, 1))


def conv_bf16(weight: NDArray, transposed: bool) -> NDArray[np.float32]:
    """The same weights as ``[out / 16, k, pitch(in / 2), 16]`` words of two bfloat16: input channels 2i and 2i + 1.

    The first is the low half. The words are called float32, as all of an engine's memory is; nobody computes with them.
    """
    weight = np.asarray(weight, np.float32)
    out_in_k = weight.transpose(1, 0, 2) if transposed else weight
    halves = to_bf16(out_in_k).astype(np.uint32)
    words = (halves[:, 1::2] << 16 | halves[:, ::2]).view(np.float32)
    return conv(words, False)


def conv_int8(weight: NDArray, transposed: bool) -> NDArray[np.float32]:
    """The same weights as words of four whole numbers, input channels 4i .. 4i + 3, the first in the lowest byte.

    Flat: ``[out / 16, k, pitch(in / 4), 16]`` words (see ``conv_bf16``), then float32 ``[out / 16, 1 + k, 16]``: each
    output channel's scale, its largest weight over 127, and the sum of its whole numbers in each tap. A weight is its
    whole number times its scale.
    """
    weight = np.asarray(weight, np.float32)
    out_in_k = weight.transpose(1, 0, 2) if transposed else weight
    out, _, k = out_in_k.shape
    scales = np.abs(out_in_k).max((1, 2)) / np.float32(127)
    whole = np.rint(out_in_k / np.where(scales > 0, scales, 1)[:, None, None]).astype(np.int8)
    words = np.ascontiguousarray(whole.transpose(0, 2, 1)).view("<i4").transpose(0, 2, 1)  # [out, in / 4, k]
    numbers = np.zeros((-(-out // BLOCK) * BLOCK, 1 + k), np.float32)
    numbers[:out, 0], numbers[:out, 1:] = scales, whole.sum(1, dtype=np.int32)
    numbers = numbers.reshape(-1, BLOCK, 1 + k).transpose(0, 2, 1)
    return np.concatenate([conv(words.view(np.float32), False).ravel(), numbers.ravel()])


def to_bf16(values: NDArray) -> NDArray[np.uint16]:
    """float32 -> the bits of the nearest bfloat16, ties to even. Finite numbers only."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The numbers that these bits stand for."""
    return (np.asarray(halves, np.uint32) << 16).view(np.float32)


def unpack_conv(packed: NDArray, out: int, channels: int, transposed: bool) -> NDArray[np.float32]:
    """The inverse of ``conv``; out, channels: how many output and input channels there are."""
    blocks, k, _, _ = packed.shape
    out_in_k = packed.transpose(0, 3, 2, 1).reshape(blocks * BLOCK, -1, k)[:out, :channels]
    return np.ascontiguousarray(out_in_k.transpose(1, 0, 2) if transposed else out_in_k)


def vector(values: NDArray) -> NDArray[np.float32]:
    """One number per channel ``[C]``, zero padded to a multiple of 16."""
    values = np.asarray(values, np.float32)
    return np.pad(values, (0, -len(values) % BLOCK))


def unpack_vector(packed: NDArray, channels: int) -> NDArray[np.float32]:
    """The inverse of ``vector``."""
    return packed[:channels].copy()


def contiguous(arrays: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Copies of the arrays in one piece of memory, each at a cache line; the whole at a large page."""
    sizes = [-(-array.nbytes // _LINE) * _LINE for array in arrays]
    memory = np.empty(sum(sizes) + _PAGE, np.uint8)  # numpy asks for large pages by itself
    at = -memory.ctypes.data % _PAGE
    copies = []
    for array, size in zip(arrays, sizes, strict=True):
        copy = memory[at : at + array.nbytes].view(np.float32).reshape(array.shape)
        copy[...] = array
        copies.append(copy)
        at += size
    return copies
