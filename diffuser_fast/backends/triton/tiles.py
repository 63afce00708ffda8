"""How a convolution is cut into programs. A model chooses; rows of a table, each with its provenance, override it.

Nothing is tuned on the user's machine: the choice is a function of the shape and the target, so that it can be compiled
and tested in advance. ``MODEL`` holds the constants of the model, in microseconds and bytes. They are estimates from
published numbers of one H100, not measurements of these kernels: nothing here has been measured on a GPU yet.

To put a measurement in its place, add a row to ``ROWS``: the capability, the shape (a ``Launch`` prints what it is made
of), the tile that was faster, and as provenance the GPU, the row of ``bench/results`` and the date.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import lru_cache

from ...core.program import Program


def power(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


@dataclass(frozen=True)
class Shape:
    """What is to be cut. batch, length: B and H of the output. channels_in, taps: of the sum; skip: channels of a 1x1
    residual convolution (0: none). groups, width: groups of output channels that stay together, and channels in each;
    ``norm``: their statistics are wanted, over all of H. operand: "float32", "float16" or "bfloat16"; dot: "ieee", ...
    """

    batch: int
    length: int
    channels_in: int
    taps: int
    skip: int
    groups: int
    width: int
    norm: bool
    operand: str
    dot: str


@dataclass(frozen=True)
class Tile:
    """A program: nb samples x bm times x gb groups; ht programs for all times, ``parts`` for the sum, steps of bk."""

    nb: int
    bm: int
    ht: int
    gb: int
    bk: int
    parts: int
    warps: int
    stages: int

    def grid(self, shape: Shape) -> tuple[int, int, int]:
        """Programs along batch and time, columns, and pieces of the sum."""
        pieces = self.parts + (1 if shape.skip and self.split(shape) else 0)
        return -(-shape.batch // self.nb) * self.ht, -(-shape.groups // self.gb), pieces

    def split(self, shape: Shape) -> bool:
        """Whether programs leave pieces for the last to finish."""
        return self.parts > 1 or (shape.norm and self.ht > 1)


SMS = {80: 108, 86: 84, 89: 128, 90: 132, 100: 148, 120: 188}  # multiprocessors of the largest GPU of each kind
MODEL = {
    "stage": 2.8,  # a node of a graph, its prologue and epilogue
    "exchange": 1.6,  # write a piece, count, read all pieces
    "step": 0.12,  # the least time of one pipelined step
    "bytes": 5.0e4,  # per microsecond into one multiprocessor
    # multiply-adds per microsecond on one multiprocessor
    "ieee": 8.0e4, "tf32x3": 1.5e5, "tf32": 4.5e5, "half": 9.0e5,
}  # fmt: skip
MOST = 8192  # numbers of the finished tile: more would not stay in the registers of eight warps
LARGEST = 4 * MOST  # beyond that even the largest programs are hopeless


@dataclass(frozen=True)
class Row:
    """For this capability and shape (batch 0: any), this tile; provenance: "compiled" (why) or "measured" (GPU, result,
    date)."""

    capability: int
    shape: Shape
    tile: Tile
    provenance: str


_SPILLS = "compiled: with the four warps of the model's choice, ptxas spills"
ROWS = (
    Row(90, Shape(0, 1, 64, 5, 128, 8, 8, True, "float32", "ieee"), Tile(16, 1, 1, 2, 32, 1, 8, 3), _SPILLS),
    Row(80, Shape(1, 192, 256, 5, 0, 8, 4, True, "float32", "ieee"), Tile(1, 16, 16, 4, 32, 4, 8, 3), _SPILLS),
)
_TABLE = {(row.capability, row.shape): row.tile for row in ROWS}


@lru_cache(maxsize=4096)
def gpu_tile(shape: Shape, capability: int) -> Tile:
    """The cut for a GPU of this compute capability (90 for sm_90)."""
    for key in ((capability, shape), (capability, replace(shape, batch=0))):
        if key in _TABLE:
            return _TABLE[key]
    sms = SMS[max((c for c in SMS if c <= capability), default=80)]
    return min(_candidates(shape), key=lambda tile: (_time(shape, tile, sms), tile.parts, tile.ht, tile.warps))


def interpreter_tile(shape: Shape) -> Tile:
    """One fat program where possible: the interpreter pays for operations, not for their size."""
    nb = power(shape.batch)
    while nb > 1 and nb * power(shape.length) * power(shape.groups) * power(shape.width) > 1 << 18:
        nb //= 2
    return Tile(nb, power(shape.length), 1, power(shape.groups), max(16, power(shape.channels_in)), 1, 4, 1)


def why_too_large(program: Program) -> str | None:
    """A sentence if a group of a GroupNorm is more than a program can hold, or None."""
    for op in program.ops:
        if "groups" in op.attrs:
            channels, length = program.shapes[op.outs[0]]
            width = channels // op.attrs["groups"]
            if power(length) * max(16, power(width)) > LARGEST:
                return (
                    f"a GroupNorm over {length} times of {width} channels is more than one program of a GPU holds "
                    f"({LARGEST} numbers)"
                )
    return None


def _candidates(shape: Shape) -> list[Tile]:
    """Every cut that the kernel can run, of those that keep to ``MOST`` if there are any."""
    cp, length = power(shape.width), power(shape.length)
    depth = 32 if shape.operand == "float32" else 64
    bk = max(16, min(depth, power(shape.channels_in)))
    steps = shape.taps * -(-shape.channels_in // bk)
    columns = sorted(
        {max(1, n // cp) for n in (16, 32, 64)} & {1 << i for i in range(power(shape.groups).bit_length())}
    )
    columns = columns or [power(shape.groups)]
    rows = [(nb, length) for nb in (1, 2, 4, 8, 16, 32, 64) if 16 <= nb * length <= 128] or [(1, length)]
    rows += [(1, bm) for bm in (16, 32, 64, 128) if bm < length]
    found = []
    for (nb, bm), gb, parts in itertools.product(rows, columns, (1, 2, 4, 8, 16)):
        wasteful = nb > power(shape.batch) and nb * bm > 16
        narrow = gb * cp < 16 and gb < power(shape.groups)
        sums = nb * bm * gb * cp
        if wasteful or narrow or sums > MOST // 2 or (parts > 1 and steps < 2 * parts):
            continue
        ht = length // bm if shape.norm else -(-shape.length // bm)
        finished = nb * (length if shape.norm else bm) * gb * cp
        warps = 8 if max(finished / 2, sums) > 2048 else 4
        found.append((finished, Tile(nb, bm, ht, gb, bk, parts, warps, 3 if steps // parts > 2 else 2)))
    small = [tile for finished, tile in found if finished <= MOST]
    if small:
        return small
    finished, tile = min(found, key=lambda pair: pair[0])
    assert finished <= LARGEST, f"{shape} was not checked"
    return [tile]


def _time(shape: Shape, tile: Tile, sms: int) -> float:
    """Modelled microseconds of one launch."""
    m, n = tile.nb * tile.bm, max(16, tile.gb * power(shape.width))
    rate = MODEL["half"] if shape.operand != "float32" else MODEL[shape.dot]
    size = 4 if shape.operand == "float32" else 2
    step = max(MODEL["step"], m * n * tile.bk / rate, tile.bk * (4 * m + size * n) / MODEL["bytes"])
    steps = -(-shape.taps * -(-shape.channels_in // tile.bk) // tile.parts)
    skip = -(-shape.skip // tile.bk)
    waves = -(-math.prod(tile.grid(shape)) // (2 * sms))
    split = tile.split(shape)
    work = max(steps, skip) if split else steps + skip
    pieces = tile.grid(shape)[2] * tile.nb * (power(shape.length) if shape.norm else tile.bm) * n * 4
    return MODEL["stage"] + waves * (work * step + (MODEL["exchange"] + pieces / MODEL["bytes"] if split else 0))
