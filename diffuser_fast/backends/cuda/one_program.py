"""One Program by itself, for tests: inputs in, outputs out, all memory full of NaN beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...core.program import Program
from ..gpu.arguments import Arguments
from ..gpu.compile import program_stages
from .device import Device
from .division import ROOM, SAMPLES, TILES
from .tiling import tilings
from .weights import packed

GUARD = 64  # floats of NaN on either side of every input and output


def launched(
    program: Program, arrays: Mapping[str, NDArray], inputs: Mapping[str, NDArray], table: NDArray | None,
    device: Device, *, exact: bool, launches: str = "stages",
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """inputs, outputs: ``[B, C, H]`` by name; table: what is seen of a denoising step, ``[S]`` or ``[B, S]``.

    AssertionError if anything is written where nothing belongs.
    """
    batch = len(next(iter(inputs.values())))
    stages = program_stages(program, arrays, group=min(batch, SAMPLES) if launches == "stages" else 1)
    weights, places = packed(stages.convolutions, exact=exact)
    table = np.zeros((1, 1), np.float32) if table is None else np.atleast_2d(np.asarray(table, np.float32))
    given = [np.asarray(inputs[name], np.float32).transpose(0, 2, 1) for name in program.inputs]
    shapes = [(batch, *program.shapes[v][::-1]) for v in program.outputs.values()]
    made = [np.full(shape, np.nan, np.float32) for shape in shapes]
    places_io, words = _laid_out([*given, *made])
    up = places_io[len(given)] - GUARD
    staging = device.staging(words, up, up)
    staging.host[...] = np.nan
    for array, at in zip(given, places_io):
        staging.host[at : at + array.size] = array.ravel()
    io = np.array([staging.there.pointer + 4 * at for at in places_io], np.uint64)
    room = min(ROOM, device.shared_bytes)
    tiles = tilings(stages, room=room, tiles=TILES.get(launches, device.multiprocessors))
    host = {"stages": stages.rows, "script": stages.script, "tiles": tiles}
    held = {
        name: device.holding(array)
        for name, array in {
            **host, "packed": weights, "places": places, "vectors": stages.vectors, "denoiser_table": table,
            "table_steps": np.zeros(1, np.int32), "arrived": np.zeros(1, np.int32), "io": io,
        }.items()
    }  # fmt: skip
    held["arena"] = device.empty(-(-batch // stages.group) * stages.group * max(1, stages.arena), "arena")
    arguments = Arguments(
        **{name: buffer.pointer for name, buffer in held.items()},
        **{f"host_{name}": array.ctypes.data for name, array in host.items()},
        denoiser_step=table.size, denoiser_ld=table.shape[1] if len(table) > 1 else 0,
        group=stages.group, arena_floats=stages.arena, batch=batch, candidates=batch, rows=1,
        stage_count=len(stages.stages), script_count=len(stages.script), exact=int(exact),
    )  # fmt: skip
    device.replay(arguments, staging, launches=launches)()
    edges = np.ones(words, bool)
    for array, at in zip([*given, *made], places_io):
        edges[at : at + array.size] = False
    assert np.isnan(staging.host[edges]).all(), "an output was overrun"
    outputs = {}
    for name, shape, at in zip(program.outputs, shapes, places_io[len(given) :]):
        found = staging.host[at : at + math.prod(shape)].reshape(shape)
        outputs[name] = np.ascontiguousarray(found.transpose(0, 2, 1))
    return outputs


def _laid_out(arrays: list[NDArray]) -> tuple[list[int], int]:
    """Where each begins, with guards between them, at multiples of 64 bytes; how many words that makes."""
    places, at = [], GUARD
    for array in arrays:
        places.append(at)
        at += -(-array.size // 16) * 16 + GUARD
    return places, at
