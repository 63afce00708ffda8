"""One file that plans without Python: a Planner, as ``include/diffuser_fast.h`` opens it (docs/c_api.md)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..backends import cpu
from ..core.checkpoint import Checkpoint
from ..core.scalars import whole
from ..planner import Planner
from . import contents
from .selftest import self_test
from .tensors import write


def export(
    planner: Planner, path: str | os.PathLike[str], *, horizons: Iterable[int] = (), batch_sizes: Iterable[int] = (),
) -> Path:  # fmt: skip
    """Write ``planner`` to ``path``, a bundle, whole or not at all, and return the path.

    The C library then makes the very plans of this planner: its sampler, guide, precision and clip_scope; the same bits
    for the same conditions, seed and number of the plan, on the same instruction set. horizons: H that it shall offer
    beside the planner's own (unguided only). batch_sizes: B that it shall offer beside the planner's own, which is a
    question under "float32-close" alone: other precisions plan any number from the same file. With it goes a small plan
    for each instruction set of this CPU, which ``dfx_bundle_self_test`` repeats. Raises ValueError where the CPU engine
    cannot plan it so, OSError where the file cannot be written.
    """
    if isinstance(planner, Checkpoint) or not isinstance(planner, Planner):
        raise TypeError(f"planner: expected a Planner, found {type(planner).__name__}")
    if planner.precision not in cpu.PRECISIONS:
        raise ValueError(f"precision: a bundle has {', '.join(cpu.PRECISIONS)}, found {planner.precision!r}")
    if (reason := cpu.why_not(planner.loop)) is not None:
        raise ValueError(f"planner: {reason}")
    if (reason := contents.why_not(planner)) is not None:
        raise ValueError(f"planner: {reason}, which a bundle does not hold yet")
    wanted = _own_first(planner.horizon, [whole("horizons", h, 1) for h in horizons])
    sizes = _own_first(planner.batch_size, [whole("batch_sizes", b, 1) for b in batch_sizes])
    loops = [planner.loop_at(horizon) for horizon in wanted]
    tensors = contents.tensors(planner, loops, sizes) | self_test(planner)
    return write(path, tensors, contents.metadata(planner))


def _own_first(own: int, others: list[int]) -> list[int]:
    return [own, *sorted(set(others) - {own})]
