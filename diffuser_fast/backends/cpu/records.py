"""What ``_cpu`` takes of Programs: records of ops and values, and the weights they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.ops import CONVS
from ...core.passes import executed, plan_memory, serialize_ops, serialize_values
from ...core.program import Program
from . import weights as packed_weights
from .algorithms import VECTOR, Packing, algorithm_of, forward_weights, packing_of

INPUTS, OUTPUTS = ("x", "dy"), ("y", "dx")  # of a loop's programs, in this order on the wire


@dataclass(frozen=True)
class Record:
    """A program for ``_cpu``, which reads these attributes (csrc/bind_cpu.cc); all int32 but the weights.

    layouts: of each weight (csrc/cpu/layout.gen.h); size: floats of arena per trajectory.
    """

    ops: NDArray[np.int32]
    values: NDArray[np.int32]
    inputs: NDArray[np.int32]
    outputs: NDArray[np.int32]
    weights: list[NDArray[np.float32]]
    layouts: NDArray[np.int32]
    size: int
    table_width: int


def records(parts: Sequence[tuple[Program, Mapping[str, NDArray]]], precision: str, batch: int) -> list[Record]:
    """A record of each program. A weight that is used several times in one layout is stored once."""
    forward: dict[int, set[str]] = {}
    for program, weights in parts:
        forward.setdefault(id(weights), set()).update(forward_weights(program))
    numbers: dict[tuple[int, Packing], int] = {}
    wanted: list[tuple[NDArray, Packing]] = []

    def number(weight: NDArray, packing: Packing) -> int:
        key = (id(weight), packing)
        if key not in numbers:
            numbers[key] = len(wanted)
            wanted.append((weight, packing))
        return numbers[key]

    drafts = []
    for program, weights in parts:
        arena = plan_memory(program)
        ops, named, algorithms = executed(program, arena), [], []
        for op in ops:
            packings, algorithm = [VECTOR] * len(op.weights), -1
            if op.kind in CONVS:
                algorithm = algorithm_of(op, program, weights, forward[id(weights)], precision, batch)
                packings[0] = packing_of(op, program, algorithm)
            named.append({name: number(weights[name], p) for name, p in zip(op.weights, packings, strict=True)})
            algorithms.append(int(algorithm))
        drafts.append((program, arena, serialize_ops(ops, named, algorithms)))
    memory = packed_weights.shared(wanted)
    layouts = np.array([packing.layout for _, packing in wanted], np.int32)
    return [
        Record(
            ops=ops,
            values=serialize_values(program, arena),
            inputs=np.array([program.inputs[name] for name in ordered(program.inputs, INPUTS)], np.int32),
            outputs=np.array([program.outputs[name] for name in ordered(program.outputs, OUTPUTS)], np.int32),
            weights=memory,
            layouts=layouts,
            size=arena.size,
            table_width=program.table_width,
        )
        for program, arena, ops in drafts
    ]


def ordered(named: Mapping[str, int], order: tuple[str, ...]) -> list[str]:
    """Names of inputs or outputs: a loop's in the order of the wire, then others (in tests) as they come."""
    return [name for name in order if name in named] + [name for name in named if name not in order]
