"""How long a plan would take on a GPU, counted from its stages: a range, with its assumptions, and no measurement.

Four ways to run the same stages (ARCHITECTURE.md, "The GPU engines"):

    stages           a launch for each, in one CUDA graph
    loop             one launch; a thread block for each group of trajectories, and every weight through each of them
    cluster          one launch; eight blocks share a group, tell each other their channels and wait at a barrier
    async            the same by stores that signal their arrival, where a stage is cut among the blocks

Everything is a chain of stages, each a few microseconds of work, so what counts is what a stage costs beside its
products. A constant is a pair, the least and the most it is thought to be; one that was measured takes the place of
both (``measured``). Weights stream from the second-level cache: at best beside the chain, at worst after.

The CUDA engine chooses its way of launching by it (backends/cuda/division.py). ``measured.json`` has what `make gpu`
found on GPUs, by their names; it is empty as long as there is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...core.whole_file import write_whole
from .stages import Kind, Residual, Stage, StageList

BLOCKS = 8  # of a cluster
WARPS = 8  # of a block


@dataclass(frozen=True)
class Constant:
    """low, high: microseconds unless the name says otherwise; why: where it comes from."""

    low: float
    high: float
    why: str


CONSTANTS: dict[str, Constant] = {
    "node": Constant(0.8, 1.3, "a dependent kernel of a graph: 0.83 on a 3090 and 1.3 on an H100, as others measured"),
    "kernel": Constant(1.2, 1.8, "a small kernel's first loads and last stores, through the second-level cache"),
    "block barrier": Constant(0.03, 0.10, "a wait of 256 threads for each other, twice a stage"),
    "cluster barrier": Constant(0.45, 0.9, "a hardware barrier, whose release goes through the second-level cache"),
    "async handover": Constant(0.25, 0.45, "stores into other blocks' memory that signal their arrival"),
    "norm": Constant(0.15, 0.25, "two means over a group, and the activation"),
    "cycles of a step": Constant(32, 48, "sixteen products deep for one warp, bound by latency"),
    "cycles of a product": Constant(8, 13, "one m16n8k16 of two warps that share a tensor core"),
    "cycles per us": Constant(1750, 1500, "the clock: 1.75 GHz at most"),
    "bytes per us, one block": Constant(120e3, 80e3, "from the second-level cache into one multiprocessor"),
    "bytes per us, all": Constant(6.0e6, 4.5e6, "the same into all of them"),
}
MEASURED = Path(__file__).with_name("measured.json")
MULTIPROCESSORS = 132
CLUSTERS = 15  # of eight blocks, that an H100 holds at once: 120 of its multiprocessors, as others saw it


@dataclass(frozen=True)
class Range:
    """Milliseconds."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.1f} to {self.high:.1f} ms"


def depth(stage: Stage) -> int:
    """Products that each number of a stage's result is the sum of."""
    if stage.kind != Kind.CONV:
        return 0
    taps = -(-stage.k // stage.stride) if stage.transposed else stage.k
    skip = stage.cr if stage.residual in (Residual.EARLY_CONV, Residual.LATE_CONV) else 0
    return taps * stage.ci + skip


def weight_bytes(stage: Stage, size: int) -> int:
    """Bytes of convolutions' weights that a stage reads, ``size`` a number."""
    if stage.kind != Kind.CONV:
        return 0
    skip = stage.cr if stage.residual in (Residual.EARLY_CONV, Residual.LATE_CONV) else 0
    return size * stage.co * (stage.k * stage.ci + skip)


def measured(gpu: str) -> dict[str, float]:
    """The constants that were measured on such a GPU, by name; none if nobody has."""
    return json.loads(MEASURED.read_text(encoding="utf-8")).get(gpu, {})


def remember(gpu: str, constants: Mapping[str, float]) -> None:
    """Constants that were measured on a GPU are the model's from now on. ValueError on names that it does not have."""
    if unknown := sorted(set(constants) - set(CONSTANTS)):
        raise ValueError(f"constants: the model has no {', '.join(unknown)}, it has {', '.join(CONSTANTS)}")
    all_of_them = json.loads(MEASURED.read_text(encoding="utf-8")) | {gpu: dict(constants)}
    write_whole(MEASURED, (json.dumps(all_of_them, indent=2, sort_keys=True) + "\n").encode())


def modelled(
    stages: StageList, batch: int, *, weight_size: int = 2, known: Mapping[str, float] | None = None
) -> dict[str, Range]:
    """Each way to run them -> milliseconds of one plan of ``batch`` trajectories on an H100 or H200.

    weight_size: bytes of a number of the weights. known: constants that were measured.
    """
    chain = [stage for _, _, stage in stages.chain()]
    exactly = {name: (value, value) for name, value in (known or {}).items()}
    found = {}
    for way, time in _WAYS.items():
        ends = []
        for end in (0, 1):
            k = {name: exactly.get(name, (one.low, one.high))[end] for name, one in CONSTANTS.items()}
            ends.append(time(chain, batch, weight_size, k, end == 1) * 1e-3)
        found[way] = Range(*ends)
    return found


def _work(stage: Stage, trajectories: int, columns: float, k: Mapping[str, float]) -> float:
    """Microseconds of one block's part of a stage: rows of so many trajectories, so many channels."""
    steps = math.ceil(depth(stage) / 16) * math.ceil(trajectories * stage.h / 16) / WARPS
    cycles = max(1.0, steps) * max(k["cycles of a step"], math.ceil(columns / 8) * k["cycles of a product"])
    return k["norm"] * (stage.gamma >= 0) + (cycles / k["cycles per us"] if depth(stage) else 0.0)


def _by_stage(chain: list[Stage], batch: int, size: int, k: Mapping[str, float], worst: bool) -> float:
    total = 0.0
    for stage in chain:
        tiles = max(1, math.ceil(batch * stage.h / 64)) * max(1, math.ceil(stage.co / 32))
        waves = math.ceil(tiles / (2 * MULTIPROCESSORS))
        rows = min(batch * stage.h, 64) / max(1, stage.h)
        work = _work(stage, max(1, math.ceil(rows)), min(stage.co, 32), k)
        total += k["node"] + k["kernel"] + waves * work
    return total


def _loop(chain: list[Stage], batch: int, size: int, k: Mapping[str, float], worst: bool) -> float:
    held = math.ceil(batch / MULTIPROCESSORS)
    waits = sum(2 * k["block barrier"] + _work(stage, held, stage.co, k) for stage in chain)
    rate = min(k["bytes per us, one block"], k["bytes per us, all"] / min(batch, MULTIPROCESSORS))
    return _beside(waits, sum(weight_bytes(stage, size) for stage in chain) / rate, worst)


def _cluster(chain: list[Stage], batch: int, size: int, k: Mapping[str, float], worst: bool, wait: str) -> float:
    held = math.ceil(batch / CLUSTERS)
    waits = sum(
        2 * k["block barrier"]
        + _work(stage, held, stage.co / (BLOCKS if stage.cut else 1), k)
        + k[wait if stage.cut else "cluster barrier"]
        for stage in chain
    )
    read = sum(weight_bytes(stage, size) for stage in chain)
    clusters = min(batch, CLUSTERS)
    rate = min(BLOCKS * k["bytes per us, one block"], k["bytes per us, all"] / clusters)
    return _beside(waits, read / rate, worst)


def _beside(chain: float, stream: float, worst: bool) -> float:
    return chain + stream if worst else max(chain, stream)


_WAYS = {
    "stages": _by_stage,
    "loop": _loop,
    "cluster": lambda *args: _cluster(*args, "cluster barrier"),
    "async": lambda *args: _cluster(*args, "async handover"),
}
