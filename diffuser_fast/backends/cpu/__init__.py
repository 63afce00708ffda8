"""The C++ engine: packs weights, plans memory, and hands serialized Programs to ``_cpu``, which runs whole plans.

Precision "float32" is exact; "float32-close" has Winograd's algorithm for the wide convolutions of five taps, where
the batch or the horizon is large enough; "bf16" keeps the weights of wide convolutions in bfloat16, and multiplies
bfloat16 where the CPU can. A plan's result is the same, bit for bit, however many threads there are and, but for
"float32-close", whatever the batch it is in; another instruction set may round differently.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.conditions import Inpainting
from ...core.loop import Network, Result, SamplingLoop, not_finite
from ...core.passes import plan_memory
from ...core.program import Op, Program
from ...settings import SETTINGS
from ..engine import Noise, Seeded
from .layout import serialize_programs

try:
    from ... import _cpu
except ImportError as error:
    _cpu, _MISSING = None, str(error)

PRECISIONS = ("float32", "float32-close", "bf16")
_COLUMNS = ("p", "q", "a", "b", "d", "s", "gx", "g0")  # as in csrc/api.h


def isas() -> list[str]:
    """The instruction sets this CPU has kernels for, narrowest first."""
    return _cpu.isas() if _cpu else []


def why_not(loop: SamplingLoop | None = None, device: str | None = None) -> str | None:
    """A sentence, or None if this backend can run the loop here."""
    if _cpu is None:
        return (
            f"the C++ engine is not installed ({_MISSING}); reinstall diffuser-fast where there is a C++17 compiler "
            f"(DIFFUSER_FAST_BUILD=cpu makes a failing build say why)"
        )
    if device not in (None, "cpu"):
        return f"the C++ engine runs on the CPU, not on {device!r}"
    return None


def ready(
    loop: SamplingLoop, *, device: str | None = None, batch: int, precision: str = "float32",
    threads: int | None = None, cores: Sequence[int] | None = None, isa: str | None = None,
) -> CpuEngine:  # fmt: skip
    """An engine for ``batch`` plans. threads: None for one per core of ``cores``, or of those this process may use.

    cores: thread i stays on core ``cores[i]``; thread 0 is the caller's, pinned at its first plan. isa: see ``isas``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: the cpu backend has {', '.join(PRECISIONS)}, found {precision!r}")
    if (reason := why_not(loop, device)) is not None:
        raise RuntimeError(reason)
    return CpuEngine(loop, batch, precision=precision, isa=isa or SETTINGS.isa, **_placed(threads, cores))


def run(
    program: Program, weights: Mapping[str, NDArray], inputs: Sequence[NDArray], table: NDArray | None = None,
    *, precision: str = "float32", threads: int = 1, isa: str | None = None,
) -> list[NDArray[np.float32]]:  # fmt: skip
    """Evaluate one Program by itself, fused or not. inputs: ``[B, C, H]`` each; table: ``[S]``. For tests.

    All memory holds NaN beforehand, inputs and outputs lie between NaNs too, and what is written past an output
    raises AssertionError: an engine that reads what it should not has NaN to show for it.
    """
    if (reason := why_not()) is not None:
        raise RuntimeError(reason)
    batch = len(inputs[0])
    programs = [*serialize_programs([(program, weights)], precision, batch), None, None]
    engine = _engine(programs, batch, *_length_and_depth(program), threads=threads, isa=isa)
    ins = [_guarded(np.shape(array), array) for array in inputs]
    outs = [_guarded((batch, *program.shapes[v])) for v in program.outputs]
    table_row = None if table is None else _guarded(np.shape(table), table)[1]
    engine.run(0, [view for _, view in ins], table_row, [view for _, view in outs], float("nan"))
    for memory, view in outs:
        edge = (memory.size - view.size) // 2
        assert np.isnan(memory[:edge]).all() and np.isnan(memory[-edge:]).all(), "an output was overrun"
    return [view.copy() for _, view in outs]


class CpuEngine:
    """See backends/engine.py. It belongs to one thread at a time; it survives a fork."""

    def __init__(
        self, loop: SamplingLoop, batch: int, *, precision: str = "float32", threads: int = 1,
        cores: Sequence[int] = (), isa: str | None = None, group: int = 0, profile: bool = False,
    ) -> None:  # fmt: skip
        self.loop, self.batch = loop, batch
        steps, guide = loop.steps, loop.guide
        parts = [(loop.denoiser.fused, loop.denoiser.weights)]
        if guide is not None:
            parts += [(guide.gradient, guide.weights), (guide.fused, guide.weights)]
        programs = serialize_programs(parts, precision, batch) + [None] * (3 - len(parts))
        self._engine = _engine(
            programs, batch, loop.horizon, loop.transition_dim, threads=threads, cores=cores, isa=isa, group=group,
            profile=profile,
            columns=np.stack([getattr(steps, name) for name in _COLUMNS], axis=1).astype(np.float32),
            guide_steps=steps.guide_steps.astype(np.int32),
            denoiser_table=_table(loop.denoiser, loop.denoiser.tables),
            guide_table=_table(guide, guide.tables) if guide else None,
            clip=loop.clip,
        )  # fmt: skip
        self.isa, self.threads, self.intra_op = self._engine.isa, self._engine.threads, self._engine.intra_op
        self.group = self._engine.group

    def __call__(
        self, inpainting: Inpainting, noise: Noise, *, x: NDArray | None = None, start: int = 0,
        tables: tuple[NDArray, NDArray | None] | None = None, candidates: int | None = None, chain: bool = False,
    ) -> Result:  # fmt: skip
        """See backends/engine.py."""
        loop, n = self.loop, self.batch
        seeded = isinstance(noise, Seeded)
        own, guides = tables if tables is not None else (None, None)
        shape = (n, loop.horizon, loop.transition_dim)
        result = Result(
            x=np.empty(shape, np.float32),
            values=np.empty(n, np.float32),
            order=np.empty(n, np.int64),
            chain=np.empty((n, loop.rows + 1 - start, *shape[1:]), np.float32) if chain else None,
        )
        failed = self._engine.plan(
            mask=inpainting.mask,
            inpaint_values=inpainting.values,
            inpaint_batch=len(inpainting.values),
            tape=None if seeded or noise is None else _dense(noise),
            seed=noise.seed & 0xFFFFFFFFFFFFFFFF if seeded else 0,
            plan=noise.plan & 0xFFFFFFFF if seeded else 0,
            x=None if x is None else _dense(x),
            start=start,
            denoiser_table=None if own is None else _dense(own),
            guide_table=None if guides is None else _dense(guides),
            candidates=candidates or n,
            x_out=result.x,
            values=result.values,
            order=result.order,
            chain=result.chain,
        )
        if failed >= 0:
            raise not_finite(loop.steps, failed)
        return result

    def times(self) -> dict[str, list[tuple[Op, float]]]:
        """Seconds spent in each op of each program since the last call, as the first thread saw it (``profile``)."""
        programs = {"denoiser": self.loop.denoiser.fused}
        if self.loop.guide is not None:
            programs |= {"gradient": self.loop.guide.gradient, "value": self.loop.guide.fused}
        found = {}
        for role, (name, program) in enumerate(programs.items()):
            views = plan_memory(program).aliases
            ops = [op for op in program.ops if op.outs[0] not in views]
            found[name] = [(op, ns * 1e-9) for op, ns in zip(ops, self._engine.profile(role), strict=False)]
        return found


def _engine(
    programs: list, batch: int, horizon: int, depth: int, *, threads: int, isa: str | None,
    cores: Sequence[int] = (), group: int = 0,
    profile: bool = False, columns: NDArray | None = None, guide_steps: NDArray | None = None,
    denoiser_table: NDArray | None = None, guide_table: NDArray | None = None, clip: tuple | None = None,
) -> _cpu.Engine:  # fmt: skip
    low, high = (None, None) if clip is None else map(_dense, clip)
    return _cpu.Engine(
        programs=programs,
        columns=np.zeros((0, len(_COLUMNS)), np.float32) if columns is None else columns,
        guide_steps=np.zeros(0, np.int32) if guide_steps is None else guide_steps,
        denoiser_table=denoiser_table,
        guide_table=guide_table,
        clip_low=low,
        clip_high=high,
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


def _table(network: Network, table: NDArray) -> NDArray[np.float32] | None:
    return _dense(table) if network.program.table_width else None


def _length_and_depth(program: Program) -> tuple[int, int]:
    channels, length = program.shapes[program.inputs[0]]
    return length, channels


def _dense(array: NDArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)


def _guarded(shape: tuple[int, ...], values: NDArray | None = None) -> tuple[NDArray, NDArray]:
    """Memory full of NaN and, in the middle of it, an array of this shape."""
    size, edge = int(np.prod(shape)), 64
    memory = np.full(size + 2 * edge, np.nan, np.float32)
    view = memory[edge : edge + size].reshape(shape)
    if values is not None:
        view[...] = values
    return memory, view


def _placed(threads: int | None, cores: Sequence[int] | None) -> dict[str, Any]:
    """How many threads, and on which cores; ValueError where the two do not fit."""
    cores = SETTINGS.cores if cores is None else tuple(cores)
    if threads is None:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = SETTINGS.threads or len(cores) or usable
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise ValueError(f"threads: found {threads!r}, expected a whole number, at least 1")
    if cores and len(cores) < threads:
        raise ValueError(f"cores: found {len(cores)}, expected one for each of {threads} threads")
    return {"threads": int(threads), "cores": cores[:threads]}
