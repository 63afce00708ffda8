"""The C++ engine: packs weights, plans memory, and hands serialized Programs to ``_cpu``, which runs whole plans.

Precision "float32" is exact; "float32-close" has Winograd's algorithm for the wide convolutions of five taps, where
the batch or the horizon is large enough; "bf16" keeps the weights of wide convolutions in bfloat16, and multiplies
bfloat16 where the CPU can. A plan's result is the same, bit for bit, however many threads there are and, but for
"float32-close", whatever the batch it is in; another instruction set may round differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.loop import SamplingLoop
from ...core.program import Program
from ...core.scalars import whole
from ...core.verify import Support, unsupported
from ...settings import MOST_THREADS, SETTINGS, usable_cores
from .engine import MISSING, CpuEngine, check, extension, open_engine
from .records import INPUTS, OUTPUTS, ordered, records

NAME = "cpu"
PRECISIONS = ("float32", "float32-close", "bf16", "int8")
INVARIANT = frozenset({"float32", "bf16", "int8"})
OPTIONS = frozenset({"cores", "isa"})
SCHEDULES = frozenset({"rows", "deadline"})
SUPPORT = Support(
    kinds=frozenset({
        "conv", "group_norm", "channel_norm", "act", "add", "concat", "slice", "step_bias", "linear_attention",
        "group_norm_vjp", "act_vjp", "conv_block", "norm_act_vjp", "film",
    }),
    acts=frozenset({"mish", "silu", "relu", "gelu", "square"}),
)  # fmt: skip


def isas() -> list[str]:
    """The instruction sets this CPU has kernels for, narrowest first."""
    return [] if MISSING else extension().isas()


def why_not(loop: SamplingLoop | None = None, device: str | None = None) -> str | None:
    """A sentence, or None if this backend can run the loop here."""
    if MISSING:
        return (
            f"the C++ engine is not installed ({MISSING}); reinstall diffuser-fast where there is a C++17 compiler "
            f"(DIFFUSER_FAST_BUILD=cpu makes a failing build say why)"
        )
    if SETTINGS.isa not in (None, *isas()):
        return f"DIFFUSER_FAST_ISA: found {SETTINGS.isa}, expected one that this CPU has: {', '.join(isas())}"
    if device not in (None, "cpu"):
        return f"the C++ engine runs on the CPU, not on {device!r}"
    return None if loop is None else loop.unsupported(SUPPORT)


def ready(
    loop: SamplingLoop, *, device: str | None = None, batch: int, precision: str = "float32",
    threads: int | None = None, cores: Sequence[int] | None = None, isa: str | None = None,
) -> CpuEngine:  # fmt: skip
    """An engine for ``batch`` plans. threads: None for one per core of ``cores``, or of those this process may use.

    cores: thread i is on core ``cores[i]`` during a plan; thread 0 is the caller's, which is put back afterwards.
    isa: see ``isas``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: the cpu backend has {', '.join(PRECISIONS)}, found {precision!r}")
    if (reason := why_not(loop, device)) is not None:
        raise RuntimeError(reason)
    return CpuEngine(loop, batch, precision=precision, isa=isa or SETTINGS.isa, **_placed(threads, cores))


def evaluate(
    program: Program, weights: Mapping[str, NDArray], inputs: Mapping[str, NDArray], table: NDArray | None = None,
    *, precision: str = "float32", threads: int = 1, isa: str | None = None,
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """Evaluate one Program by itself, fused or not. inputs, outputs: ``[B, C, H]`` by name; table: ``[S]``, ``[B, S]``.

    For tests: all memory holds NaN beforehand, inputs and outputs lie between NaNs too, and what is written past an
    output raises AssertionError: an engine that reads what it should not has NaN to show for it.
    """
    if (reason := why_not() or unsupported(program, SUPPORT)) is not None:
        raise RuntimeError(reason)
    (record,) = records([(program, weights)], precision, batch := len(next(iter(inputs.values()))))
    channels, length = program.shapes[next(iter(program.inputs.values()))]
    engine = open_engine([record], batch, length, channels, threads=threads, isa=isa)
    ins = [_guarded(np.shape(inputs[name]), inputs[name])[1] for name in ordered(program.inputs, INPUTS)]
    outs = {
        name: _guarded((batch, *program.shapes[program.outputs[name]])) for name in ordered(program.outputs, OUTPUTS)
    }
    table_row = None if table is None else _guarded(np.shape(table), table)[1]
    check(engine.run(0, ins, table_row, [view for _, view in outs.values()], float("nan")))
    for memory, view in outs.values():
        edge = (memory.size - view.size) // 2
        assert np.isnan(memory[:edge]).all() and np.isnan(memory[-edge:]).all(), "an output was overrun"
    return {name: view.copy() for name, (_, view) in outs.items()}


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
    name, cores = ("DIFFUSER_FAST_CORES", SETTINGS.cores) if cores is None else ("cores", tuple(cores))
    if foreign := sorted(set(cores) - usable_cores()):
        raise ValueError(f"{name}: this process may not use core {foreign[0]}")
    if threads is None:
        threads = SETTINGS.threads or len(cores) or len(usable_cores())
    threads = whole("threads", threads, 1, MOST_THREADS)
    if cores and len(cores) < threads:
        raise ValueError(f"{name}: found {len(cores)}, expected one for each of {threads} threads")
    return {"threads": threads, "cores": cores[:threads]}
