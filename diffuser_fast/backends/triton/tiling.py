"""How a convolution is cut into program instances. A model chooses; entries, each with its provenance, override it.

Nothing is tuned on the user's machine: the choice is a function of the problem size and the target, so that it can be
compiled and tested in advance. ``MODEL`` holds the constants of the model, in microseconds and bytes: estimates
from published numbers of one H100, not measurements of these kernels: nothing here has been measured on a GPU yet.

To put a measurement in its place, add an entry to ``ENTRIES``: the capability, the problem size (a ``Launch`` prints
what it is made of), the tiling that was faster, and as provenance the GPU, the record in ``bench/results`` and the
date.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import lru_cache


def power(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


@dataclass(frozen=True)
class ProblemSize:
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
class Tiling:
    """A program instance: a tile of nb samples x bm times x gb groups; ht instances for all times, ``split_k`` for the
    sum, which goes in steps of bk; warps and pipeline stages."""

    nb: int
    bm: int
    ht: int
    gb: int
    bk: int
    split_k: int
    warps: int
    stages: int

    def grid(self, problem: ProblemSize) -> tuple[int, int, int]:
        """Program instances along batch and time, columns, and splits of the sum."""
        splits = self.split_k + (1 if problem.skip and self.has_partials(problem) else 0)
        return -(-problem.batch // self.nb) * self.ht, -(-problem.groups // self.gb), splits

    def has_partials(self, problem: ProblemSize) -> bool:
        """Whether program instances leave partials, for the last of a tile to add up and pass through the epilogue."""
        return self.split_k > 1 or (problem.norm and self.ht > 1)


SMS = {80: 108, 86: 84, 89: 128, 90: 132, 100: 148, 120: 188}  # multiprocessors of the largest GPU of each kind
MODEL = {
    "launch": 2.8,  # a node of a graph, its prologue and epilogue
    "reduction": 1.6,  # write a partial, count, read all partials
    "k_step": 0.12,  # the least time of one pipelined step along the sum
    "bytes": 5.0e4,  # per microsecond into one multiprocessor
    # multiply-adds per microsecond on one multiprocessor
    "ieee": 8.0e4, "tf32x3": 1.5e5, "tf32": 4.5e5, "half": 9.0e5,
}  # fmt: skip
MOST = 8192  # numbers of the finished tile: more would not stay in the registers of eight warps
LARGEST = 4 * MOST  # beyond that even the largest program instances are hopeless


@dataclass(frozen=True)
class Entry:
    """For this capability and problem size (batch 0: any), this tiling; provenance: "compiled" (why) or "measured"
    (GPU, result, date)."""

    capability: int
    problem: ProblemSize
    tiling: Tiling
    provenance: str


_SPILLS = "compiled: with the four warps of the model's choice, ptxas spills"
ENTRIES = (
    Entry(90, ProblemSize(0, 1, 64, 5, 128, 8, 8, True, "float32", "ieee"), Tiling(16, 1, 1, 2, 32, 1, 8, 3), _SPILLS),
    Entry(
        80, ProblemSize(1, 192, 256, 5, 0, 8, 4, True, "float32", "ieee"), Tiling(1, 16, 16, 4, 32, 4, 8, 3), _SPILLS
    ),
)
_BY_PROBLEM = {(entry.capability, entry.problem): entry.tiling for entry in ENTRIES}


@lru_cache(maxsize=4096)
def gpu_tiling(problem: ProblemSize, capability: int) -> Tiling:
    """The cut for a GPU of this compute capability (90 for sm_90)."""
    for key in ((capability, problem), (capability, replace(problem, batch=0))):
        if key in _BY_PROBLEM:
            return _BY_PROBLEM[key]
    sms = SMS[max((c for c in SMS if c <= capability), default=80)]
    return min(
        _candidates(problem), key=lambda tiling: (_time(problem, tiling, sms), tiling.split_k, tiling.ht, tiling.warps)
    )


def interpreter_tiling(problem: ProblemSize) -> Tiling:
    """One fat program instance where possible: the interpreter pays for operations, not for their size."""
    nb = power(problem.batch)
    while nb > 1 and nb * power(problem.length) * power(problem.groups) * power(problem.width) > 1 << 18:
        nb //= 2
    return Tiling(nb, power(problem.length), 1, power(problem.groups), max(16, power(problem.channels_in)), 1, 4, 1)


def _candidates(problem: ProblemSize) -> list[Tiling]:
    """Every cut that the kernel can run, of those that keep to ``MOST`` if there are any."""
    cp, length = power(problem.width), power(problem.length)
    depth = 32 if problem.operand == "float32" else 64
    bk = max(16, min(depth, power(problem.channels_in)))
    k_steps = problem.taps * -(-problem.channels_in // bk)
    columns = sorted(
        {max(1, n // cp) for n in (16, 32, 64)} & {1 << i for i in range(power(problem.groups).bit_length())}
    )
    columns = columns or [power(problem.groups)]
    rows = [(nb, length) for nb in (1, 2, 4, 8, 16, 32, 64) if 16 <= nb * length <= 128] or [(1, length)]
    rows += [(1, bm) for bm in (16, 32, 64, 128) if bm < length]
    found = []
    for (nb, bm), gb, split_k in itertools.product(rows, columns, (1, 2, 4, 8, 16)):
        wasteful = nb > power(problem.batch) and nb * bm > 16
        narrow = gb * cp < 16 and gb < power(problem.groups)
        sums = nb * bm * gb * cp
        if wasteful or narrow or sums > MOST // 2 or (split_k > 1 and k_steps < 2 * split_k):
            continue
        ht = length // bm if problem.norm else -(-problem.length // bm)
        finished = nb * (length if problem.norm else bm) * gb * cp
        warps = 8 if max(finished / 2, sums) > 2048 else 4
        found.append((finished, Tiling(nb, bm, ht, gb, bk, split_k, warps, 3 if k_steps // split_k > 2 else 2)))
    small = [tiling for finished, tiling in found if finished <= MOST]
    if small:
        return small
    finished, tiling = min(found, key=lambda pair: pair[0])
    assert finished <= LARGEST, f"{problem} was not checked"
    return [tiling]


def _time(problem: ProblemSize, tiling: Tiling, sms: int) -> float:
    """Modelled microseconds of one launch."""
    m, n = tiling.nb * tiling.bm, max(16, tiling.gb * power(problem.width))
    rate = MODEL["half"] if problem.operand != "float32" else MODEL[problem.dot]
    size = 4 if problem.operand == "float32" else 2
    k_step = max(MODEL["k_step"], m * n * tiling.bk / rate, tiling.bk * (4 * m + size * n) / MODEL["bytes"])
    k_steps = -(-problem.taps * -(-problem.channels_in // tiling.bk) // tiling.split_k)
    skip = -(-problem.skip // tiling.bk)
    waves = -(-math.prod(tiling.grid(problem)) // (2 * sms))
    partials = tiling.has_partials(problem)
    work = max(k_steps, skip) if partials else k_steps + skip
    exchanged = tiling.grid(problem)[2] * tiling.nb * (power(problem.length) if problem.norm else tiling.bm) * n * 4
    return MODEL["launch"] + waves * (
        work * k_step + (MODEL["reduction"] + exchanged / MODEL["bytes"] if partials else 0)
    )
