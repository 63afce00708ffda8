"""One opened engine of ``_cpu``: a sampling loop with its records, weights and memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ...core.conditions import Inpainting
from ...core.loop import PlanTables, Result, SamplingLoop, TimeTables, not_finite
from ...core.passes import executed, plan_memory
from ...core.program import Op
from ...core.samplers import ENGINE_COLUMNS
from ..engine import BusyError, CancelledError, Noise, Schedule, Seeded
from .records import Record, records

try:
    from ... import _cpu
except ImportError as error:
    _cpu, MISSING, STATUS = None, str(error), {}
else:
    MISSING, STATUS = None, _cpu.STATUS


def check(status: int) -> None:
    """Raise what a status of the engine stands for; "not_finite" is the caller's."""
    if status == STATUS["busy"]:
        raise BusyError
    if status == STATUS["cancelled"]:
        raise CancelledError


def extension() -> ModuleType | None:
    """The compiled module, or None; ``MISSING`` says why."""
    return _cpu


class CpuEngine:
    """See backends/engine.py. One call at a time, from any thread; it survives a fork.

    Ctrl-C ends a plan of the main thread after its denoising step (asked for every 50 ms): KeyboardInterrupt, and the
    engine is as good as before.
    """

    def __init__(
        self, loop: SamplingLoop, batch: int, *, precision: str = "float32", threads: int = 1,
        cores: Sequence[int] = (), isa: str | None = None, group: int = 0, profile: bool = False,
    ) -> None:  # fmt: skip
        self.loop, self.batch = loop, batch
        steps, guide = loop.steps, loop.guide
        parts = [(loop.denoiser.fused, loop.denoiser.weights)]
        if guide is not None:
            parts += [(guide.gradient, guide.weights), (guide.fused, guide.weights)]
        self._engine = open_engine(
            records(parts, precision, batch), batch, loop.horizon, loop.transition_dim, threads=threads, cores=cores,
            isa=isa, group=group, profile=profile,
            columns=np.stack([getattr(steps, name) for name in ENGINE_COLUMNS], axis=1).astype(np.float32),
            guide_steps=steps.guide_steps.astype(np.int32),
            table_steps=loop.table_steps,
            table_count=loop.table_count if loop.table_steps is not None else 0,
            denoiser_tables=_arrays(loop.denoiser.tables),
            guide_tables=_arrays(guide.tables) if guide else None,
            clip=loop.clip,
        )  # fmt: skip
        self.isa, self.threads, self.intra_op = self._engine.isa, self._engine.threads, self._engine.intra_op
        self.group, self.groups = self._engine.group, self._engine.groups

    @property
    def shares(self) -> bool:
        """Whether the threads of the next plan share each op (csrc/cpu/adaptive_threading.h)."""
        return self._engine.shares

    def __call__(
        self, inpainting: Inpainting, noise: Noise, *, x: NDArray | None = None, start: int = 0,
        tables: PlanTables | None = None, candidates: int | None = None, chain: bool = False,
        schedule: Schedule | None = None,
    ) -> Result:  # fmt: skip
        """See backends/engine.py."""
        loop, n = self.loop, self.batch
        seeded = isinstance(noise, Seeded)
        own, guides = (None, None) if tables is None else map(_arrays, loop.plan_tables(tables, n))
        shape = (n, loop.horizon, loop.transition_dim)
        entries = loop.rows + 1 - start if schedule is None else schedule.rows.shape[1] + 1
        result = Result(
            x=np.empty(shape, np.float32),
            values=np.empty(n, np.float32),
            order=np.empty(n, np.int64),
            chain=(np.zeros if schedule else np.empty)((n, entries, *shape[1:]), np.float32) if chain else None,
            rows=None if schedule is None else np.empty((self.groups, schedule.rows.shape[1]), np.int32),
            expected=None if schedule is None or schedule.deadline is None else np.zeros(self.groups, np.int64),
        )
        status, step = self._engine.plan(
            mask=inpainting.mask,
            inpaint_values=inpainting.values,
            inpaint_batch=len(inpainting.values),
            tape=None if seeded or noise is None else dense(noise),
            seed=noise.seed & 0xFFFFFFFFFFFFFFFF if seeded else 0,
            plan=noise.plan & 0xFFFFFFFF if seeded else 0,
            x=None if x is None else dense(x),
            start=start,
            denoiser_tables=own,
            guide_tables=guides,
            candidates=candidates or n,
            x_out=result.x,
            values=result.values,
            order=result.order,
            chain=result.chain,
            schedule=None if schedule is None else _fields(schedule, result),
            interruptible=threading.current_thread() is threading.main_thread(),
        )
        check(status)
        if status == STATUS["not_finite"]:
            rows = range(loop.rows) if schedule is None else result.rows[0]
            raise not_finite(loop.steps, int(rows[step]))
        return result

    def first_noise(self, noise: Seeded, candidates: int) -> NDArray[np.float32]:
        """See backends/engine.py."""
        x = np.empty((self.batch, self.loop.horizon, self.loop.transition_dim), np.float32)
        self._engine.first_noise(noise.seed & 0xFFFFFFFFFFFFFFFF, noise.plan & 0xFFFFFFFF, candidates, x)
        return x

    @property
    def dissolved(self) -> int:
        """How many plans the caller finished alone, its threads having lost too much time (csrc/cpu/barrier.h)."""
        return self._engine.dissolved

    @property
    def resumed(self) -> int | None:
        """The denoising step from which the caller went on in the last of those; None: there was none."""
        return None if self._engine.resumed < 0 else self._engine.resumed

    def cancel(self) -> None:
        """See backends/engine.py."""
        self._engine.cancel()

    def times(self) -> dict[str, list[tuple[Op, float]]]:
        """Seconds spent in each op of each program since the last call, as the first thread saw it (``profile``)."""
        programs = {"denoiser": self.loop.denoiser.fused}
        if self.loop.guide is not None:
            programs |= {"gradient": self.loop.guide.gradient, "value": self.loop.guide.fused}
        return {
            name: [
                (op, ns * 1e-9)
                for op, ns in zip(executed(program, plan_memory(program)), self._engine.profile(role), strict=False)
            ]
            for role, (name, program) in enumerate(programs.items())
        }


def open_engine(
    programs: Sequence[Record], batch: int, horizon: int, depth: int, *, threads: int, isa: str | None,
    cores: Sequence[int] = (), group: int = 0, profile: bool = False, columns: NDArray | None = None,
    guide_steps: NDArray | None = None, denoiser_tables: tuple | None = None, guide_tables: tuple | None = None,
    clip: tuple | None = None, table_steps: NDArray | None = None, table_count: int = 0,
) -> _cpu.Engine:  # fmt: skip
    """``_cpu.Engine`` of one to three programs: denoiser, the guide's gradient and value. ValueError says why not."""
    low, high = (None, None) if clip is None else map(dense, clip)
    return _cpu.Engine(
        programs=[*programs, *[None] * (3 - len(programs))],
        columns=np.zeros((0, len(ENGINE_COLUMNS)), np.float32) if columns is None else columns,
        guide_steps=np.zeros(0, np.int32) if guide_steps is None else guide_steps,
        denoiser_tables=denoiser_tables,
        guide_tables=guide_tables,
        clip_low=low,
        clip_high=high,
        table_steps=table_steps,
        table_count=table_count,
        rows=0 if columns is None else len(columns),
        batch=batch,
        horizon=horizon,
        depth=depth,
        threads=threads,
        cores=list(cores),
        group=group,
        profile=profile,
        isa=isa,
    )


def dense(array: NDArray) -> NDArray[np.float32]:
    """C-contiguous float32."""
    return np.ascontiguousarray(array, np.float32)


def _fields(schedule: Schedule, result: Result) -> dict[str, object]:
    """As the binding takes a df_schedule (csrc/api.h)."""
    rows = schedule.rows
    fields = {"rows": rows, "n_schedules": len(rows), "most": rows.shape[1], "skipped": schedule.skipped}
    fields["ran"] = result.rows
    if (deadline := schedule.deadline) is not None:
        menu = deadline.menu
        fields |= {"deadline": deadline.at, "once": deadline.once, "expected": result.expected}
        fields |= {"cost": deadline.cost, "alone_cost": deadline.alone_cost}
        fields |= {"first_path": menu.first_path, "path_at": menu.path_at, "path_rows": menu.path_rows}
        if deadline.clock is not None:
            fields["clock"] = np.ascontiguousarray(deadline.clock, np.int64)
    return fields


def _arrays(tables: TimeTables | None) -> tuple[NDArray, NDArray | None] | None:
    return None if tables is None else (tables.per_step, tables.per_sample)
