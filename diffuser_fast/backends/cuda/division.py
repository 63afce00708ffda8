"""How the work of a plan is divided on a device, and which way of launching it is taken where nobody said one."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.loop import SamplingLoop
from ..gpu.model import measured, modelled
from ..gpu.plan import loop_stages
from .device import Device
from .tiling import tilings

LAUNCHES = ("stages", "loop", "cluster", "async")
CLUSTERS = ("cluster", "async")  # the ways of eight blocks that share a group
TILES = {"loop": 1, "cluster": 8, "async": 8}  # each block of a cluster has an eighth of the channels: whole groups
ARRIVALS = 16  # bytes behind an arena, for two mbarriers (csrc/cuda/tiling.h)
ROOM = 96 << 10  # bytes of shared memory that a tile takes at most, where they need not share it with an arena
SAMPLES, ROWS = 4, 128  # of a group, at most, where each stage is a launch: a matrix instruction has 16 rows


@dataclass(frozen=True)
class Division:
    """group: trajectories of a thread block. tiles: into how many parts a stage is cut for each group. room: bytes of
    shared memory for a tile."""

    group: int
    tiles: int
    room: int


def divided(loop: SamplingLoop, batch: int, device: Device, launches: str) -> Division:
    """How the work is divided; ValueError, in a sentence, if this device has too little shared memory.

    With a launch for every stage there are tiles for all multiprocessors; with one for all stages a block, or a cluster
    of blocks, has its trajectories for itself, and their arena in shared memory, each block of a cluster all of it. A
    multiprocessor always has room for a block: kernels are compiled for that (__launch_bounds__). None waits for
    another, but for those of its cluster, which are started together.
    """
    if launches in CLUSTERS and not device.clusters:
        raise ValueError(
            f"launches: {launches!r} needs a GPU of compute capability 9.0 or newer; use 'stages' or 'loop'"
        )
    whole = launches != "stages"
    at_once = device.multiprocessors if launches == "loop" else device.clusters
    most = -(-batch // at_once) if whole else min(batch, SAMPLES, max(1, ROWS // loop.horizon))
    for group in range(most, 0, -1):
        stages = loop_stages(loop, group=group)
        arena = 4 * group * stages.arena + ARRIVALS if whole else 0
        room = device.shared_bytes - arena if whole else min(ROOM, device.shared_bytes)
        tiles = TILES.get(launches) or max(1, device.multiprocessors // -(-batch // group))
        try:
            tilings(stages, room=room, tiles=tiles)
        except ValueError as error:
            reason = error
            continue
        return Division(group, tiles, room)
    if not whole:
        raise reason
    raise ValueError(
        f"launches: {launches!r} keeps a trajectory in shared memory, of which a block of this GPU has "
        f"{device.shared_bytes >> 10} KiB; {arena >> 10} KiB for its values and a tile beside them do not fit; use "
        "'stages'"
    )


def chosen(loop: SamplingLoop, batch: int, device: Device) -> str:
    """The way of launching that fits here and that the model (backends/gpu/model.py) says is the fastest at its worst.

    Clusters are among the ways only on GPUs whose constants were measured. The choice depends on the loop, the number
    of plans and the kind of GPU, never on a clock: the same call gives the same bits tomorrow.
    """
    known = measured(device.name)
    ranges = modelled(loop_stages(loop), batch, known=known)
    for way in sorted(LAUNCHES if known else LAUNCHES[:2], key=lambda way: ranges[way].high):
        try:
            divided(loop, batch, device, way)
        except ValueError:
            if way == "stages":
                raise
        else:
            return way
    raise AssertionError("stages either fit or say why not")
