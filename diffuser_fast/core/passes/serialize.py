"""A Program and its arena as rows of int32, which is what crosses the wire to C++."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..ops import OP_FIELDS, VALUE_FIELDS, op_row
from ..program import Op, Program
from .memory import Arena


def executed(program: Program, arena: Arena) -> list[Op]:
    """The ops that do something: those whose result is not merely columns of another buffer."""
    return [op for op in program.ops if op.outs[0] not in arena.aliases]


def serialize_ops(
    ops: Sequence[Op], weights: Sequence[Mapping[str, int]], algorithms: Sequence[int]
) -> NDArray[np.int32]:
    """Rows of ``OP_FIELDS``. weights: of each op, name -> number; algorithms: of each op, -1 where it has none."""
    rows = [op_row(op, *own) for op, *own in zip(ops, weights, algorithms, strict=True)]
    return np.array(rows, np.int32).reshape(len(rows), len(OP_FIELDS))


def serialize_values(program: Program, arena: Arena) -> NDArray[np.int32]:
    """Rows of ``VALUE_FIELDS``; offset -1: the value is never made."""
    rows = [
        [*shape, v.offset, v.ld, v.channel] if v else [*shape, -1, -1, -1]
        for shape, v in zip(program.shapes, arena.views, strict=True)
    ]
    return np.array(rows, np.int32).reshape(len(rows), len(VALUE_FIELDS))
