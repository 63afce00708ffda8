"""The engine's own door (csrc/cpu/verify.cc): what a serialized program may be, whoever wrote it."""

from dataclasses import replace

import numpy as np
import pytest

from csrc import interpreter
from csrc.engines import SMALL, needs_engine, random_loop, random_weights
from diffuser_fast.backends import cpu
from diffuser_fast.backends.cpu import algorithms
from diffuser_fast.backends.cpu.engine import CpuEngine, open_engine
from diffuser_fast.backends.cpu.records import records
from diffuser_fast.core.ops import OP_FIELDS, VALUE_FIELDS
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder, Op

pytestmark = needs_engine


def block(channels=8, precision="float32", batch=4):
    """conv_block with everything, then an act and an add, as a record."""
    b = Builder((channels, 6))
    y = b.add(b.step_bias(b.act(b.group_norm(b.conv(0, "c", channels, k=5), "n", 4))), 0)
    program = fuse(b.done(b.add(b.act(y, "relu"), y)))
    assert [op.kind for op in program.ops] == ["conv_block", "act", "add"]
    return records([(program, random_weights(program.weights))], precision, batch)[0]


def opened(record, batch=4):
    return open_engine([record], batch, 6, 8, threads=1, isa=None)


def changed(record, op, **fields):
    ops = record.ops.copy()
    for name, value in fields.items():
        ops[op, OP_FIELDS.index(name)] = value
    return replace(record, ops=ops)


def moved(record, value, **fields):
    values = record.values.copy()
    for name, number in fields.items():
        values[value, VALUE_FIELDS.index(name)] = number
    return replace(record, values=values)


def test_what_nobody_changed_opens():
    opened(block())


@pytest.mark.parametrize(
    ("op", "fields", "message"),
    [
        (1, {"opcode": 0}, r"denoiser: op 1: opcode: found 0, expected 1 to 14"),
        (1, {"opcode": 99}, "op 1: opcode: found 99"),
        (0, {"w": 1000}, "op 0: weight: found 1000, expected 0 to 3"),
        (0, {"w3": -1}, "op 0: weight: found -1, expected 0 to 3"),
        (1, {"w": 0}, "op 1: weight: found 0, expected -1"),
        (1, {"in": 77}, "op 1: in: found 77"),
        (1, {"in": -1}, "op 1: in: found -1"),
        (2, {"in2": -1}, "op 2: in2: found -1"),
        (1, {"in2": 0}, "op 1: in2: found 0, expected -1"),
        (2, {"out2": 0}, "op 2: out2: found 0, expected -1"),
        (1, {"act": 5}, "op 1: act: found 5, expected 0 to 4"),
        (0, {"act": -1}, "op 0: act: found -1"),
        (0, {"table": 1}, "op 0: table: found 1, expected 0 to 0"),
        (0, {"table": -2}, "op 0: table: found -2"),
        (0, {"groups": 3}, "op 0: channels of a group: found 2, expected 0"),
        (0, {"groups": 0}, "op 0: groups: found 0"),
        (0, {"eps": 0x7FC00000}, "op 0: eps: not a finite number"),
        (0, {"k": 3}, "op 0: output length: found 6, expected 8"),
        (0, {"k": 0}, "op 0: k: found 0"),
        (0, {"stride": 0}, "op 0: stride: found 0"),
        (0, {"pad": -1}, "op 0: pad: found -1"),
        (0, {"transposed": 2}, "op 0: transposed: found 2"),
        (0, {"transposed": 1}, "op 0: layout of a weight"),
        (0, {"algorithm": 9}, "op 0: algorithm: found 9"),
        (0, {"algorithm": -1}, "op 0: algorithm: found -1"),
        (0, {"algorithm": 1}, "op 0: algorithm: dot_adjoint is of transposed"),
        (0, {"algorithm": 2}, "op 0: layout of a weight"),
        (0, {"algorithm": 3}, "op 0: layout of a weight"),
        (1, {"algorithm": 0}, "op 1: algorithm: found 0, expected -1"),
        (0, {"out": 0}, "op 0: out: it lies where an input does"),
    ],
)
def test_a_field_that_is_wrong(op, fields, message):
    with pytest.raises(ValueError, match=message):
        opened(changed(block(), op, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 0}, "value 0: channels: found 0"),
        ({"length": -3}, "value 0: length: found -3"),
        ({"length": 7}, "value 0: end|op 0"),
        ({"channels": 9}, "op 0: "),
        ({"offset": 1 << 20}, "value 0: offset"),
        ({"offset": 8}, "value 0: offset in blocks: found 8, expected 0"),
        ({"offset": -2}, "value 0: offset: found -2"),
        ({"offset": -1}, "inputs: a value that lies nowhere|op 0: in: a value that lies nowhere"),
        ({"ld": 8}, "value 0: ld: found 8, expected 16"),
        ({"ld": 24}, "value 0: ld in blocks"),
        ({"channel": 9}, "value 0: ld: found 16, expected 32"),
    ],
)
def test_a_value_that_lies_elsewhere(fields, message):
    with pytest.raises(ValueError, match=message):
        opened(moved(block(), 0, **fields))


def test_other_parts_of_a_record():
    record = block()
    short = [*record.weights[:-1], record.weights[-1][:4]]
    for wrong, message in (
        (replace(record, size=record.size - 16), "end: found"),
        (replace(record, size=-1), "size: found -1"),
        (replace(record, table_width=4), "op 0: table: found 0, expected 0 to -4"),
        (replace(record, table_width=-1), "table_width: found -1"),
        (replace(record, inputs=np.array([99], np.int32)), "inputs: found 99"),
        (replace(record, outputs=np.array([-1], np.int32)), "outputs: found -1"),
        (replace(record, outputs=np.zeros(0, np.int32)), "n_outputs: found 0"),
        (replace(record, weights=short), "op 0: size of a weight: found 4, expected 16"),
        (replace(record, layouts=np.zeros_like(record.layouts)), "op 0: layout of a weight: found 0, expected 1"),
        (replace(record, weights=record.weights[:2], layouts=record.layouts[:2]), "op 0: weight: found"),
    ):
        with pytest.raises(ValueError, match=message):
            opened(wrong)


@pytest.mark.parametrize("role", ["denoiser", "gradient", "value"])
def test_a_loop_of_other_networks(role):
    """Programs that are right by themselves, and are not those of the loop."""
    loop = random_loop(SMALL)
    b = Builder((3, 4))
    other = b.done(b.act(0))
    part = "denoiser" if role == "denoiser" else "guide"
    network = replace(getattr(loop, part), **{"gradient" if role == "gradient" else "fused": other})
    with pytest.raises(ValueError, match=f"{role}: (inputs: found 1|x: channels: found 3, expected 7)"):
        CpuEngine(replace(loop, **{part: network}), 2)


def test_a_program_that_reads_a_table_runs_with_one():
    b = Builder((3, 4))
    program = b.done(b.step_bias(0))
    with pytest.raises(ValueError, match="table_row: None, and the program reads it"):
        cpu.evaluate(program, {}, {"x": np.zeros((1, 3, 4), np.float32)})
    loop = random_loop(SMALL, guided=False)
    network = replace(loop.denoiser, tables=None)
    with pytest.raises(ValueError, match="denoiser_tables: NULL, and the network reads them"):
        CpuEngine(replace(loop, denoiser=network), 1)


@pytest.mark.parametrize("precision", cpu.PRECISIONS)
@pytest.mark.parametrize("large", [False, True])
def test_a_transposed_block_that_shares_its_weight(large, precision, monkeypatch):
    """A convolution, its weight transposed in a block, and its plain adjoint: each in its own algorithm's layout."""
    if large:
        monkeypatch.setattr(algorithms, "SHARED_FROM", 0)
    b = Builder((64, 9))
    u = b.conv(0, "c", 64, k=5)
    n = b.group_norm(u, "n", 8)
    b.conv(n, "d", 64, k=5, transposed=True)
    gradient = vjp(b.done(n))
    program = b.done(len(b.shapes) - 1)
    # d is c's weight, turned round.
    ops = [replace(op, weights=("c.weight", *op.weights[1:])) if "d.weight" in op.weights else op for op in program.ops]
    conv = next(op for op in ops if op.kind == "conv" and op.attrs["transposed"])
    ops[ops.index(conv)] = Op(
        "conv_block", conv.outs, conv.ins, (*conv.weights, "n.weight", "n.bias"),
        {**conv.attrs, "groups": 8, "eps": 1e-5, "act": "mish", "table": -1},
    )  # fmt: skip
    weights = {name: shape for name, shape in program.weights.items() if name != "d.weight"}
    program = replace(program, ops=tuple(ops), weights=weights)
    numbers = random_weights(weights)
    x = np.random.default_rng(0).standard_normal((8, 64, 9)).astype(np.float32)
    exact = interpreter.run(program, numbers, {"x": x})["y"]
    found = cpu.evaluate(program, numbers, {"x": x}, precision=precision)["y"]
    assert np.abs(found - exact).max() < {"bf16": 0.1, "int8": 0.3}.get(precision, 1e-4)
    # Both programs together, as a guide's are: one weight in as many layouts as there are algorithms.
    both = records([(gradient, numbers), (program, numbers)], precision, 8)
    assert both[0].weights is both[1].weights
