"""Stage lists run by the CUDA kernels in the emulator: one Program, or a whole plan as an Engine."""

from __future__ import annotations

import ctypes

import numpy as np
from emulated.emulator import CUDA, Emulator, emulator
from numpy.typing import NDArray

from diffuser_fast.backends.cuda.tiling import tilings
from diffuser_fast.backends.cuda.weights import packed
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.backends.gpu.arguments import Arguments
from diffuser_fast.backends.gpu.compile import program_stages
from diffuser_fast.backends.gpu.plan import loop_stages
from diffuser_fast.backends.gpu.stages import StageList
from diffuser_fast.core.loop import Result, not_finite
from diffuser_fast.core.samplers import ENGINE_COLUMNS

ROOM = 96 << 10  # bytes of shared memory for a tile
MOST = 227 << 10  # that a block of an H100 may have
GRADIENT_SCALE = 64.0  # in halves


def device() -> Emulator:
    """The emulator of the kernels."""
    return emulator(CUDA / "kernels.cu")


class Record:
    """An ``Arguments`` record and the arrays that it points to, all in the host's memory and watched."""

    def __init__(self, stages: StageList, *, exact: bool, tiles: int, room: int) -> None:
        self.arguments, self._kept, self.watched = Arguments(), [], {}
        rows = stages.rows
        self.array("stages", rows), self.array("script", stages.script)
        self.array("tiles", tilings(stages, room=room, tiles=tiles))
        for name in ("stages", "script", "tiles"):
            setattr(self.arguments, f"host_{name}", getattr(self.arguments, name))
        weights, places = packed(stages.convolutions, exact=exact)
        self.array("packed", weights), self.array("places", places), self.array("vectors", stages.vectors)
        self.numbers(
            exact=exact, arena_floats=stages.arena, group=stages.group, stage_count=len(rows),
            script_count=len(stages.script),
        )  # fmt: skip
        self.arrived = self.array("arrived", np.zeros(1, np.int32))

    def array(self, name: str, array: NDArray) -> NDArray:
        """An array that kernels may read; what they write is seen in it."""
        array = np.array(array, order="C")
        assert array.dtype in (np.float32, np.int32, np.uint32, np.float16), (name, array.dtype)
        self._kept.append(array)
        setattr(self.arguments, name, array.ctypes.data)
        return array

    def written(self, name: str, array: NDArray, *, known: bool = False) -> NDArray:
        """An array that kernels write, which is watched. known: whether they may read it before."""
        array = self.array(name, array)
        self.watched[name] = array, known
        return array

    def numbers(self, **fields: int) -> None:
        """Numbers of the record."""
        for name, value in fields.items():
            setattr(self.arguments, name, value)

    def run(self, *, whole: bool) -> None:
        """AssertionError on whatever the emulator reports."""
        emulated = device()
        emulated.forget()
        for name, (array, known) in self.watched.items():
            emulated.watch(name, array, known=known)
        call = emulated.library.df_cuda_loop if whole else emulated.library.df_cuda_stages
        call(ctypes.byref(self.arguments), None)
        reports = emulated.report()
        assert not reports, "\n".join(reports)


def evaluate(case, *, exact: bool, group: int, tiles: int = 1, whole: bool = False, table=None) -> dict[str, NDArray]:
    """The outputs of an op case by name, ``[B, C, H]``. tiles: into how many a stage is cut if it can be."""
    program, batch = case.program, case.batch
    stages = program_stages(program, case.weights, group=group)
    record = Record(stages, exact=exact, tiles=tiles, room=ROOM)
    _arena(record, stages, batch)
    table = case.table if table is None else table
    table = np.zeros((1, 1), np.float32) if table is None else np.atleast_2d(table)
    record.array("denoiser_table", table)
    record.array("table_steps", np.zeros(1, np.int32))
    record.numbers(
        batch=batch,
        candidates=batch,
        rows=1,
        denoiser_ld=table.shape[1] if len(table) > 1 else 0,
        denoiser_step=table.size,
    )
    given = [np.ascontiguousarray(case.inputs[name].transpose(0, 2, 1)) for name in program.inputs]
    shapes = [program.shapes[v] for v in program.outputs.values()]
    made = [np.full((batch, h, c), np.nan, np.float32) for c, h in shapes]
    pointers = np.array([array.ctypes.data for array in (*given, *made)], np.uint64)
    record.arguments.io = pointers.ctypes.data
    for n, array in enumerate(made):
        record.watched[f"output {n}"] = array, False
    record.run(whole=whole)
    return {name: y.transpose(0, 2, 1) for name, y in zip(program.outputs, made, strict=True)}


class EmulatedEngine:
    """See backends/engine.py. exact: float32, else halves. whole: one launch for all of a plan."""

    def __init__(
        self, loop, batch: int, *, exact: bool = True, group: int = 1, whole: bool = False, tiles: int = 1
    ) -> None:
        self.loop, self.batch, self.exact, self.group, self.whole, self.tiles = loop, batch, exact, group, whole, tiles

    def __call__(self, inpainting, noise, *, x=None, start=0, tables=None, candidates=None, chain=False) -> Result:
        """See backends/engine.py."""
        loop, batch, (horizon, depth) = self.loop, self.batch, (self.loop.horizon, self.loop.transition_dim)
        scale = 1.0 if self.exact else GRADIENT_SCALE
        stages = loop_stages(loop, group=self.group, start=start, gradient_scale=scale)
        room = MOST - 4 * stages.group * stages.arena if self.whole else ROOM
        record = Record(stages, exact=self.exact, tiles=self.tiles, room=min(room, ROOM))
        if not self.whole:
            _arena(record, stages, batch)
        columns = np.stack([getattr(loop.steps, name) for name in ENGINE_COLUMNS], axis=1)
        columns[:, [ENGINE_COLUMNS.index("gx"), ENGINE_COLUMNS.index("g0")]] /= scale
        record.array("columns", columns.astype(np.float32))
        if loop.clip is not None:
            for name, bound in zip(("clip_low", "clip_high"), loop.clip, strict=True):
                record.array(name, np.asarray(bound, np.float32))
        steps = range(loop.rows)
        record.array("table_steps", np.array([loop.table_step(k) for k in steps], np.int32))
        for name, seen in zip(("denoiser", "guide"), loop.plan_tables(tables, batch), strict=True):
            if seen is None:
                continue
            width = seen.per_step.shape[2]
            record.array(f"{name}_table", seen.per_step)
            record.numbers(**{f"{name}_step": seen.per_step[0].size})
            record.numbers(**{f"{name}_ld": width if seen.per_step.shape[1] > 1 else 0})
            if seen.per_sample is not None:
                record.array(f"{name}_added", seen.per_sample)
                record.numbers(**{f"{name}_added_ld": width})
        record.array("mask", inpainting.mask.astype(np.int32))
        record.array("inpaint", np.asarray(inpainting.values, np.float32))
        record.numbers(inpaint_ld=horizon * depth if len(inpainting.values) > 1 else 0)
        candidates = candidates or batch
        if isinstance(noise, Seeded):
            words = (noise.seed & 0xFFFFFFFF, noise.seed >> 32 & 0xFFFFFFFF, noise.plan & 0xFFFFFFFF, candidates)
            record.array("address", np.array(words, np.uint32))
        else:
            record.array("tape", np.concatenate((noise[:1], noise[start + 1 :])).astype(np.float32))
        if x is not None:
            record.array("given", np.asarray(x, np.float32))
        record.numbers(batch=batch, horizon=horizon, depth=depth, rows=loop.rows, start=start, candidates=candidates)
        state = (batch, horizon, depth)
        made = record.written("x", np.full(state, np.nan, np.float32))
        values = record.written("values", np.zeros(batch, np.float32), known=loop.guide is None)
        order = record.written("order", np.tile(np.arange(candidates, dtype=np.int32), batch // candidates))
        bad = record.array("bad", np.full(1, loop.rows, np.int32))
        states = (batch, loop.rows + 1 - start, horizon, depth)
        states = record.written("chain", np.full(states, np.nan, np.float32)) if chain else None
        record.run(whole=self.whole)
        if bad[0] < loop.rows:
            raise not_finite(loop.steps, int(bad[0]))
        assert not record.arrived.any(), "the counter of blocks was not set back"
        return Result(x=made, values=values, order=order.astype(np.int64), chain=states)

    def cancel(self) -> None:
        """Nothing."""


def _arena(record: Record, stages: StageList, batch: int) -> None:
    groups = -(-batch // stages.group)
    record.written("arena", np.full(groups * stages.group * max(1, stages.arena), np.nan, np.float32))
