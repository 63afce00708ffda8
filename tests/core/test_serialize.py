"""serialize: the records say the same as the program and its arena."""

import struct

import numpy as np
import pytest
from core.networks import NETWORKS

from diffuser_fast.core.ops import ACTS, ATTRS, KINDS, OP_FIELDS
from diffuser_fast.core.passes import executed, fuse, plan_memory, serialize_ops, serialize_values
from diffuser_fast.core.program import Builder


def records(program, algorithms=None):
    """The ops that are executed, each with its record by field; weights are numbered as they come in the program."""
    ops = executed(program, plan_memory(program))
    numbers = {name: n for n, name in enumerate(program.weights)}
    rows = serialize_ops(ops, [numbers] * len(ops), [-1] * len(ops) if algorithms is None else algorithms)
    assert rows.dtype == np.int32 and rows.shape == (len(ops), len(OP_FIELDS)) and rows.flags.c_contiguous
    return ops, [dict(zip(OP_FIELDS, row.tolist(), strict=True)) for row in rows]


def float_of(bits):
    return struct.unpack("<f", struct.pack("<i", bits))[0]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_records_say_the_same_as_the_program(name, fused):
    program = fuse(NETWORKS[name]) if fused else NETWORKS[name]
    arena, names = plan_memory(program), list(program.weights)
    ops, found = records(program)
    assert ops == [op for op in program.ops if op.outs[0] not in arena.aliases]
    for op, record in zip(ops, found, strict=True):
        assert record["opcode"] == KINDS[op.kind].opcode
        assert [record[f] for f in ("out", "out2") if record[f] >= 0] == list(op.outs)
        assert [record[f] for f in ("in", "in2") if record[f] >= 0] == list(op.ins)
        assert [names[record[f]] for f in ("w", "w2", "w3", "w4") if record[f] >= 0] == list(op.weights)
        for attr, value in op.attrs.items():
            if attr == "act":
                assert ACTS[record[attr]] == value
            elif ATTRS[attr].type is float:
                assert float_of(record[attr]) == np.float32(value)
            else:
                assert record[attr] == value
    for shape, view, record in zip(program.shapes, arena.views, serialize_values(program, arena).tolist(), strict=True):
        assert record == [*shape, *((view.offset, view.ld, view.channel) if view else (-1, -1, -1))]


def test_what_an_op_does_not_have_is_minus_one():
    for op, record in zip(*records(NETWORKS["attention"]), strict=True):
        assert {record[name] for name in set(ATTRS) - set(KINDS[op.kind].attrs)} | {record["algorithm"]} == {-1}


@pytest.mark.parametrize("act", ACTS)
def test_every_activation_has_its_number(act):
    b = Builder((3, 4))
    _, (record,) = records(b.done(b.act(0, act)))
    assert record["act"] == ACTS.index(act)


def test_an_algorithm_is_written_down():
    b = Builder((3, 4))
    _, found = records(b.done(b.act(b.conv(0, "c", 5, k=3))), algorithms=[2, -1])
    assert [record["algorithm"] for record in found] == [2, -1]


def test_a_weight_that_has_no_number_is_an_error():
    b = Builder((3, 4))
    program = b.done(b.conv(0, "c", 5, k=3))
    with pytest.raises(KeyError, match=r"c\.bias"):
        serialize_ops(program.ops, [{"c.weight": 0}], [-1])
