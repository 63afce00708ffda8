"""Program and Arena -> records of int32, which C++ reads: one per op and one per value."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ops import ACTS, KINDS, OP_FIELDS, VALUE_FIELDS
from ..program import Op, Program
from .memory import Arena


@dataclass(frozen=True)
class Serialized:
    """ops: int32 ``[ops, OP_FIELDS]``; values: int32 ``[values, VALUE_FIELDS]``; weights: names, by their number."""

    ops: NDArray[np.int32]
    values: NDArray[np.int32]
    weights: tuple[str, ...]


def serialize(program: Program, arena: Arena) -> Serialized:
    """The records of a program in its arena. An op that makes an alias has nothing to do, and no record.

    A value's record is its shape and its View, or -1 for all of the View where the value is never made.
    """
    names = tuple(program.weights)
    numbers = {name: i for i, name in enumerate(names)}
    ops = [_op_record(op, numbers) for op in program.ops if op.outs[0] not in arena.aliases]
    values = [
        [*shape, view.offset, view.ld, view.channel] if view else [*shape, -1, -1, -1]
        for shape, view in zip(program.shapes, arena.views, strict=True)
    ]
    return Serialized(_records(ops, len(OP_FIELDS)), _records(values, len(VALUE_FIELDS)), names)


def _op_record(op: Op, weights: Mapping[str, int]) -> list[int]:
    """The fields of one op. Absent operands and attributes are -1; eps and q_scale are the bits of a float32."""
    record = dict.fromkeys(OP_FIELDS, -1)
    record["opcode"] = KINDS[op.kind].opcode
    record.update(zip(("out", "out2"), op.outs, strict=False))
    record.update(zip(("in", "in2"), op.ins, strict=False))
    record.update(zip(("w", "w2", "w3", "w4"), (weights[name] for name in op.weights), strict=False))
    for name, value in op.attrs.items():
        if name == "act":
            record[name] = ACTS.index(value)
        elif name in ("eps", "q_scale"):
            record[name] = struct.unpack("<i", struct.pack("<f", value))[0]
        else:
            record[name] = int(value)
    return list(record.values())


def _records(records: list[list[int]], fields: int) -> NDArray[np.int32]:
    return np.array(records, np.int32).reshape(len(records), fields)
