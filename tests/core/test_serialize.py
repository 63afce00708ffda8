"""serialize: the records say the same as the program and its arena."""

import struct

import numpy as np
import pytest
from core.networks import NETWORKS

from diffuser_fast.core.ops import KINDS, OP_FIELDS
from diffuser_fast.core.passes import fuse, plan_memory, serialize


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_records_say_the_same_as_the_program(name, fused):
    program = fuse(NETWORKS[name]) if fused else NETWORKS[name]
    arena = plan_memory(program)
    serialized = serialize(program, arena)
    assert serialized.weights == tuple(program.weights)
    ops = [op for op in program.ops if op.outs[0] not in arena.aliases]
    assert serialized.ops.dtype == serialized.values.dtype == np.int32 and len(serialized.ops) == len(ops)
    for op, record in zip(ops, serialized.ops):
        found = dict(zip(OP_FIELDS, record.tolist(), strict=True))
        assert found["opcode"] == KINDS[op.kind].opcode
        assert [found[f] for f in ("out", "out2") if found[f] >= 0] == list(op.outs)
        assert [found[f] for f in ("in", "in2") if found[f] >= 0] == list(op.ins)
        names = [serialized.weights[found[f]] for f in ("w", "w2", "w3", "w4") if found[f] >= 0]
        assert names == list(op.weights)
        for attr, value in op.attrs.items():
            if attr in ("eps", "q_scale"):
                assert struct.unpack("<f", struct.pack("<i", found[attr]))[0] == np.float32(value)
            else:
                assert found[attr] == (0 if attr == "act" else value)
    for shape, view, record in zip(program.shapes, arena.views, serialized.values.tolist(), strict=True):
        assert record == [*shape, *((view.offset, view.ld, view.channel) if view else (-1, -1, -1))]


def test_what_an_op_does_not_have_is_minus_one():
    program = NETWORKS["attention"]
    records = serialize(program, plan_memory(program)).ops
    for record in records:
        found = dict(zip(OP_FIELDS, record.tolist(), strict=True))
        kind = next(kind for kind in KINDS.values() if kind.opcode == found["opcode"])
        absent = {"groups", "eps", "act", "table", "lo", "heads", "q_scale", "k", "stride"} - set(kind.attrs)
        assert {found[name] for name in absent} == {-1}
