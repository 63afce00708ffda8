"""How stages are cut up for the CUDA kernels: tiles, and the warps that share a sum (csrc/cuda/tiling.h).

A tile is a group of trajectories times some channels of the result, whole groups of a norm and whole heads of an
attention among them; a block of eight warps computes one. The order of every sum follows from ``split`` and ``team``
alone, so that two lists of tilings with the same of these give the same bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..gpu.stages import Kind, Residual, Stage, StageList, Tail
from .weights import COLUMNS, STEP

WARPS = 8  # of a block
ROWS = 16  # of a matrix instruction
BUNDLE = 4  # eights of columns that a warp works on together
_NORMS = (Tail.NORM_ACT, Tail.NORM_ACT_VJP, Tail.NORM, Tail.NORM_VJP)


class Tiling(NamedTuple):
    """columns: channels of a tile. split: warps that share the sum of a convolution. team: warps that share a mean."""

    columns: int
    split: int = 1
    team: int = 1


def tilings(stages: StageList, *, room: int, tiles: int = 1) -> NDArray[np.int32]:
    """One for each stage, ``[n, 3]``. room: bytes of shared memory that a tile may take. tiles: into how many a stage
    should be cut, as far as its channels go; more where it does not fit otherwise.

    ValueError, naming the stage, if the least tile of one does not fit.
    """
    return np.array([_tiling(stage, stages.group, room, tiles) for stage in stages.stages], np.int32).reshape(-1, 3)


def shared_bytes(stage: Stage, tiling: Tiling, group: int) -> int:
    """What a tile of a stage takes of shared memory."""
    if stage.kind == Kind.ATTENTION:
        width = stage.co // stage.heads
        return 4 * width * (width + ROWS + 2)
    floats = 4 * WARPS
    if stage.kind == Kind.CONV:
        columns = _up(min(tiling.columns, stage.co), COLUMNS)
        slices = tiling.split + (stage.residual == Residual.LATE_CONV)
        floats += slices * _up(group * stage.h, ROWS) * (_up(columns - 8, 32) + 8)
    return 4 * floats


def _tiling(stage: Stage, group: int, room: int, tiles: int) -> Tiling:
    if stage.kind == Kind.ATTENTION:
        unit = stage.co // stage.heads
    elif stage.kind in (Kind.CONV, Kind.NORM):
        unit = math.lcm(COLUMNS, stage.co // stage.groups) if stage.tail in _NORMS else COLUMNS
    else:
        unit = COLUMNS
    units = max(1, -(-stage.co // unit))
    for each in range(-(-units // tiles), 0, -1):
        if (found := _within(stage, group, room, unit * each)) is not None:
            return found
    raise ValueError(
        f"stage {stage.name!r}: {group} trajectories of {stage.h} times do not fit into {room} bytes of shared memory"
    )


def _within(stage: Stage, group: int, room: int, columns: int) -> Tiling | None:
    """With as many warps to a sum as there are to spare and fit."""
    split = team = 1
    real = min(columns, max(1, stage.co))
    if stage.kind == Kind.CONV:
        units = -(-group * stage.h // ROWS) * -(-real // (COLUMNS * BUNDLE))
        split = max(1, min(WARPS // units, stage.k * -(-stage.ci // STEP)))
    if stage.tail in _NORMS:
        width = stage.co // stage.groups
        spare = max(1, WARPS // (group * (real // width)))
        team = 1 << min(spare, max(1, stage.h * width // 32)).bit_length() - 1
    while split and shared_bytes(stage, Tiling(columns, split, team), group) > room:
        split -= 1
    return Tiling(columns, split, team) if split else None


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
