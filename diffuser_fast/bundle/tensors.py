"""The file around a bundle's tensors: safetensors, every tensor at a multiple of 64 bytes, with a digest at its end.

Padding is tensors too, named ``pad.<number>``, since safetensors has no gaps. The last tensor, ``digest``, covers every
byte before it, the header included; it finds damage and names a bundle, it is no signature.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.whole_file import write_whole

LINE = 64  # bytes: a cache line, and the widest vector
LANES = 512  # 64-bit words that are mixed side by side, so that a digest costs a few milliseconds
MULTIPLIER = 0x9E3779B97F4A7C15
TURN = 29  # bits: a product carries bits upwards only, the turn brings them down again
DTYPES = {"uint8": "U8", "int32": "I32", "int64": "I64", "uint64": "U64", "float32": "F32", "float64": "F64"}


def write(path: str | os.PathLike[str], tensors: Mapping[str, NDArray], metadata: Mapping[str, str]) -> Path:
    """Write the tensors under their names, in this order; whole or not at all. metadata: for people, not for programs.

    OSError where the file cannot be written; what was there before is left.
    """
    path = Path(path)
    head, parts = _laid_out(tensors, metadata)
    data = b"".join([head, *parts])
    data += digest(data).to_bytes(8, "little").ljust(LINE, b"\0")
    write_whole(path, data)
    return path


def digest(data: bytes) -> int:
    """64 bits of ``data``, whose length is a multiple of 8: lanes of words, each mixed in order, then the lanes."""
    words = np.frombuffer(data, "<u8")
    lanes = np.arange(1, LANES + 1, dtype=np.uint64) * np.uint64(MULTIPLIER)
    whole = len(words) // LANES * LANES
    for row in words[:whole].reshape(-1, LANES):
        lanes = _mixed(lanes, row)
    rest = len(words) - whole
    lanes[:rest] = _mixed(lanes[:rest], words[whole:])
    found = len(words)
    for lane in lanes.tolist():
        found ^= lane
        found = (found << TURN | found >> (64 - TURN)) * MULTIPLIER & 0xFFFFFFFFFFFFFFFF
    return found ^ found >> 32


def _mixed(lanes: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    lanes = lanes ^ words
    return (lanes << np.uint64(TURN) | lanes >> np.uint64(64 - TURN)) * np.uint64(MULTIPLIER)


def _laid_out(tensors: Mapping[str, NDArray], metadata: Mapping[str, str]) -> tuple[bytes, list[bytes]]:
    """The header, padded, and the bytes of all tensors but the digest."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    parts: list[bytes] = []
    at = 0

    def add(name: str, dtype: str, shape: list[int], data: bytes | None, size: int) -> None:
        nonlocal at
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
        if data is not None:
            parts.append(data)

    for number, (name, array) in enumerate(tensors.items()):
        array = np.ascontiguousarray(array)
        add(name, DTYPES[array.dtype.name], list(array.shape), array.tobytes(), array.nbytes)
        if gap := -at % LINE:
            add(f"pad.{number:05}", "U8", [gap], bytes(gap), gap)
    add("digest", "U64", [LINE // 8], None, LINE)
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % LINE)
    return len(text).to_bytes(8, "little") + text, parts
