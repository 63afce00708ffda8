"""What ``_cpu`` takes of Programs: serialized, with weights packed for the algorithm of each convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...core.ops import OP_FIELDS
from ...core.passes import plan_memory, serialize
from ...core.program import Op, Program
from .. import pack
from . import winograd

SHARED_FROM = 1 << 18  # floats: below, two copies of a weight stay in the cache, and the plain kernel is faster
WIDE = 32  # channels: narrower inputs stay in float32 under "bf16"
_VECTOR, _FORWARD, _TRANSPOSED, _WINOGRAD, _PACKED_BF16 = range(5)  # df_layout in csrc/api.h
_CONVS = ("conv", "conv_block")
_WEIGHT_FIELDS = ("w", "w2", "w3", "w4")
_Packing = tuple[int, ...]  # a df_layout and what else says how a weight lies


def serialize_programs(
    parts: Sequence[tuple[Program, Mapping[str, NDArray]]], precision: str, batch: int
) -> list[tuple]:
    """What ``_cpu`` takes of each program. A weight that is used several times in one layout is stored once."""
    forward = {
        (id(weights), op.weights[0])
        for program, weights in parts
        for op in program.ops
        if op.kind in _CONVS and not op.attrs["transposed"]
    }
    numbers: dict[tuple[int, str, _Packing], int] = {}
    packed: list[NDArray[np.float32]] = []
    drafts = []
    for program, weights in parts:
        arena = plan_memory(program)
        serialized = serialize(program, arena)
        ops = serialized.ops.copy()
        written = [op for op in program.ops if op.outs[0] not in arena.aliases]
        for fields, op in zip(ops, written, strict=True):
            for i, name in enumerate(op.weights):
                packing: _Packing = (_VECTOR,)
                if op.kind in _CONVS and i == 0:
                    shares = (id(weights), name) in forward and _worth_sharing(weights[name])
                    packing = _algorithm(op, program, shares, precision, batch)
                key = (id(weights), name, packing)
                if key not in numbers:
                    numbers[key] = len(packed)
                    packed.append(_packed(np.asarray(weights[name]), *packing))
                fields[OP_FIELDS.index(_WEIGHT_FIELDS[i])] = numbers[key]
        drafts.append((program, arena, serialized, ops))
    memory = pack.contiguous(packed)
    layouts = np.array([packing[0] for _, _, packing in numbers], np.int32)
    return [
        (
            ops, serialized.values, np.array(program.inputs, np.int32), np.array(program.outputs, np.int32), memory,
            layouts, arena.size, arena.halo, program.table_width,
        )
        for program, arena, serialized, ops in drafts
    ]  # fmt: skip


def _algorithm(op: Op, program: Program, shares: bool, precision: str, batch: int) -> _Packing:
    """The algorithm of a convolution, as the packing of its weights. shares: its adjoint may read the same copy."""
    transposed = op.attrs["transposed"]
    if precision == "float32-close" and winograd.suits(op, program, batch):
        return _WINOGRAD, transposed, winograd.is_short(program.shapes[op.outs[0]][1])
    if precision == "bf16" and _suits_bf16(op, program):
        return _PACKED_BF16, transposed
    return (_TRANSPOSED,) if transposed and not shares else (_FORWARD,)


def _packed(weight: NDArray, layout: int, transposed: bool = False, short: bool = False) -> NDArray[np.float32]:
    if layout == _VECTOR:
        return pack.vector(weight)
    if layout == _WINOGRAD:
        correlation = weight.transpose(1, 0, 2)[:, :, ::-1] if transposed else weight
        return pack.conv(winograd.weights(correlation, short), False)
    if layout == _PACKED_BF16:
        return pack.conv_bf16(weight, transposed)
    return pack.conv(weight, layout == _TRANSPOSED)


def _suits_bf16(op: Op, program: Program) -> bool:
    """Trajectories themselves (the first convolutions' input) keep all their digits; channels come in pairs."""
    channels = program.shapes[op.ins[0]][0]
    return channels >= WIDE and channels % 2 == 0


def _worth_sharing(weight: NDArray) -> bool:
    """Whether an adjoint should read its convolution's own copy: a slower kernel, but half the memory to fetch."""
    return weight.size >= SHARED_FROM and weight.shape[1] % pack.BLOCK == 0
