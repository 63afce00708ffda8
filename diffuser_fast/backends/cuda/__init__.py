"""The CUDA engine: a plan's stages (backends/gpu) run by kernels in CUDA C++ (csrc/cuda), replayed as one CUDA graph.

None of its kernels has run on a GPU yet: they are proven in an emulator on the host, and compiled for every GPU.
``launches`` "stages" is a launch for each stage; "loop" one for the whole plan, a thread block for each group of
trajectories; "cluster" the same with eight blocks that share a group, "async" with eight that send each other what they
compute. All give the same bits where they divide the work alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...core.loop import SamplingLoop
from ...core.program import Program
from ...core.verify import Support, unsupported
from .device import Gpu, numbered
from .device import why_not as _why_not_on
from .division import LAUNCHES, chosen, divided
from .engine import PRECISIONS, CudaEngine
from .one_program import launched
from .weights import beyond_halves

NAME = "cuda"
INVARIANT: frozenset[str] = frozenset()  # how sums are ordered depends on how many trajectories share a block
OPTIONS = frozenset({"launches"})
SCHEDULES: frozenset[str] = frozenset()  # a graph is captured with its rows
SUPPORT = Support(
    kinds=frozenset({
        "conv", "group_norm", "channel_norm", "act", "add", "concat", "slice", "step_bias", "linear_attention",
        "group_norm_vjp", "act_vjp", "conv_block", "norm_act_vjp", "film",
    }),
    acts=frozenset({"mish", "silu", "relu", "gelu", "square"}),
)  # fmt: skip

__all__ = [
    "INVARIANT", "LAUNCHES", "NAME", "OPTIONS", "PRECISIONS", "SCHEDULES", "SUPPORT", "CudaEngine", "evaluate",
    "isas", "ready",
    "why_not",
]  # fmt: skip


def isas() -> list[str]:
    """None: kernels are made for the device."""
    return []


def why_not(
    loop: SamplingLoop | None = None, device: str | None = None, *, batch: int = 1, precision: str = "float32",
    launches: str | None = None,
) -> str | None:  # fmt: skip
    """A sentence, or None if this backend can run the loop here: so many plans, in this precision, launched so."""
    if (reason := _why_not_on(device)) is not None or loop is None:
        return reason
    if (reason := loop.unsupported(SUPPORT)) is not None:
        return reason
    try:
        _check(precision, launches)
        gpu = Gpu(numbered(device))
        divided(loop, batch, gpu, launches or chosen(loop, batch, gpu))
    except ValueError as error:
        return str(error)
    if precision == "float32":
        return None
    networks = [network for network in (loop.denoiser, loop.guide) if network is not None]
    return beyond_halves(w for network in networks for w in network.weights.values() if w.ndim == 3)


def ready(
    loop: SamplingLoop, *, device: str | None = None, batch: int, precision: str = "float32",
    threads: int | None = None, launches: str | None = None,
) -> CudaEngine:  # fmt: skip
    """An engine for ``batch`` plans on a CUDA device (default: the first). threads: of the CPU engine; ignored.

    launches: "stages", or "loop" and "cluster" where a trajectory fits into a block's shared memory; None: the one of
    those that fit which the model of latency prefers (division.py). ValueError on a precision or a way of launching
    that there is not, on weights that halves cannot hold, and on what does not fit.
    """
    _check(precision, launches)
    if (reason := why_not(loop, device)) is not None:
        raise RuntimeError(reason)
    return CudaEngine(loop, batch, Gpu(numbered(device)), precision, launches)


def evaluate(
    program: Program, weights: Mapping[str, NDArray], inputs: Mapping[str, NDArray], table: NDArray | None = None,
    *, device: str | None = None, precision: str = "float32", threads: int | None = None, launches: str = "stages",
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """Evaluate one Program by itself, fused or not; see one_program.py. For tests."""
    _check(precision, launches)
    if (reason := why_not(None, device) or unsupported(program, SUPPORT)) is not None:
        raise RuntimeError(reason)
    exact = precision == "float32"
    return launched(program, weights, inputs, table, Gpu(numbered(device)), exact=exact, launches=launches)


def _check(precision: str, launches: str | None) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision: the cuda backend has {', '.join(PRECISIONS)}, found {precision!r}")
    if launches not in (None, *LAUNCHES):
        raise ValueError(f"launches: found {launches!r}, expected one of {', '.join(LAUNCHES)}")
