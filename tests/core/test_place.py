"""place: a program run in its arena with labels for numbers, so that every cell an op reads must still hold its own."""

import struct
from collections import Counter

import numpy as np
import pytest
from core.random_programs import shaped

from diffuser_fast.core.lower import lower
from diffuser_fast.core.ops import KINDS, OP_FIELDS
from diffuser_fast.core.passes import flat, fuse, place, vjp
from diffuser_fast.core.program import Builder
from diffuser_fast.core.spec import UNetSpec, ValueSpec

UNSET, ZERO = -2, -1

NETWORKS = {
    "unet": lower(UNetSpec(16, 5, dim=8, dim_mults=(1, 2, 4))).net,
    "hopper": lower(UNetSpec(32, 14)).net,
    "odd widths": lower(UNetSpec(8, 7, dim=12, dim_mults=(1, 3), groups=4)).net,
    "one level": lower(UNetSpec(3, 4, dim=8, dim_mults=(1,))).net,
    "attention": lower(UNetSpec(4, 23, dim=8, dim_mults=(1, 4, 8), attention=True)).net,
    "value": vjp(lower(ValueSpec(32, 14)).net),
    "value of odd lengths": vjp(lower(ValueSpec(5, 3, dim=8, dim_mults=(1, 4))).net),
    "gradient of a unet": vjp(lower(UNetSpec(8, 5, dim=8, dim_mults=(1, 2, 4))).net),
}


class Labelled:
    """An arena of n trajectories whose cells hold (trajectory, value, time, channel) as one number."""

    def __init__(self, program, layout, n):
        self.program, self.layout, self.n = program, layout, n
        self.made = {out: op for op in program.ops for out in op.outs}
        self.arena = np.full(n * layout.size, UNSET, np.int64)

    def cells(self, value, halo):
        """Indices ``[n, H + 2 halo or H, C]`` by the formula engines use."""
        (channels, length), p, pad = self.program.shapes[value], self.layout.places[value], self.layout.halo
        rows = np.arange(-pad, length + pad) if halo else np.arange(length)
        b = np.arange(self.n)[:, None, None]
        row = b * (length + 2 * pad) + pad + rows[None, :, None]
        return self.n * p.offset + row * p.ld + p.channel + np.arange(channels)

    def label(self, value):
        """What a value's cells hold, ``[n, H, C]``; a concat or slice holds what it was made of."""
        op = self.made.get(value)
        if op is not None and op.kind == "concat":
            return np.concatenate([self.label(i) for i in op.ins], axis=2)
        channels, length = self.program.shapes[value]
        if op is not None and op.kind == "slice":
            return self.label(op.ins[0])[:, :, op.attrs["lo"] :][:, :, :channels]
        n, t, c = np.ogrid[: self.n, :length, :channels]
        return ((n * len(self.program.shapes) + value) * 4096 + t) * 4096 + c

    def write(self, value):
        self.arena[self.cells(value, halo=True)] = ZERO
        self.arena[self.cells(value, halo=False)] = self.label(value)

    def holds(self, value):
        inside = np.array_equal(self.arena[self.cells(value, halo=False)], self.label(value))
        return inside and self.arena[self.cells(value, halo=True)][self.outside(value)].max(initial=ZERO) == ZERO

    def outside(self, value):
        length, pad = self.program.shapes[value][1], self.layout.halo
        rows = np.arange(length + 2 * pad)
        return np.broadcast_to(
            ((rows < pad) | (rows >= pad + length))[None, :, None], self.cells(value, halo=True).shape
        )


def check(program, n=2):
    """Run it; every read must find its label, and no op may write to a cell of its own inputs."""
    layout = place(program)
    run = Labelled(program, layout, n)
    for value in program.inputs:
        run.write(value)
    for number, op in enumerate(program.ops):
        for value in op.ins:
            assert run.holds(value), f"op {number}, {op.kind}, finds %{value} overwritten"
        if op.outs[0] in layout.views:
            assert op.kind in ("concat", "slice")
            assert run.holds(op.outs[0]), f"op {number}: the view %{op.outs[0]} is not where its parts are"
            continue
        read = np.concatenate([run.cells(v, halo=True).ravel() for v in op.ins])
        for value in op.outs:
            assert not np.isin(run.cells(value, halo=True), read).any(), f"op {number} writes over its own input"
            run.write(value)
    for value in (*program.inputs, *program.outputs):
        assert run.holds(value), f"%{value} is gone at the end"
    return layout


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fused", [False, True])
def test_networks(name, fused):
    program = fuse(NETWORKS[name]) if fused else NETWORKS[name]
    layout = check(program)
    joined = [op for op in program.ops if op.kind == "concat" and op.outs[0] in layout.views]
    assert len(joined) == sum(op.kind == "concat" for op in program.ops), "a concat of the network is copied"


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed):
    check(shaped(seed), n=1 + seed % 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_places_are_aligned_and_inside(name):
    program = fuse(NETWORKS[name])
    layout = place(program)
    for (channels, length), p in zip(program.shapes, layout.places, strict=True):
        if p is not None:
            assert p.offset % 16 == 0 and p.ld % 16 == 0 and p.channel + channels <= p.ld
            assert p.offset + p.ld * (length + 2 * layout.halo) <= layout.size


@pytest.mark.parametrize("name", NETWORKS)
def test_the_halo_covers_what_convolutions_read(name):
    program = fuse(NETWORKS[name])
    halo = place(program).halo
    for op in program.ops:
        if "pad" in op.attrs:
            k, stride, pad = op.attrs["k"], op.attrs["stride"], op.attrs["pad"]
            length, out = program.shapes[op.ins[0]][1], program.shapes[op.outs[0]][1]
            taps, times = np.arange(k)[:, None], np.arange(out)
            if op.attrs["transposed"]:  # output t meets input (t + pad - tap) / stride, where that is whole
                met = times + pad - taps
                read = met[met % stride == 0] // stride
            else:
                read = times * stride + taps - pad
            assert -halo <= read.min() and read.max() < length + halo


@pytest.mark.parametrize("name", NETWORKS)
def test_the_arena_is_not_much_larger_than_what_is_alive_at_once(name):
    program = fuse(NETWORKS[name])
    layout = place(program)
    alive = Counter()
    last = {v: n for n, op in enumerate(program.ops) for v in op.ins} | dict.fromkeys(program.outputs, len(program.ops))
    born = {v: n for n, op in enumerate(program.ops) for v in op.outs} | dict.fromkeys(program.inputs, 0)
    for value in born:
        channels, length = program.shapes[value]
        for n in range(born[value], last.get(value, born[value]) + 1):
            alive[n] += channels * (length + 2 * layout.halo)
    # Rows are rounded up to 16 floats, joined concats live as long as their longer part, and gaps remain.
    assert max(alive.values()) / 2 < layout.size < 3 * max(alive.values())


def test_a_plan_of_hopper_fits_a_cache():
    assert 4 * place(fuse(lower(UNetSpec(32, 14)).net)).size < 96 << 10
    assert 4 * place(fuse(vjp(lower(ValueSpec(32, 14)).net))).size < 256 << 10


def test_values_that_are_never_made_have_no_place():
    program = vjp(lower(ValueSpec(8, 5, dim=8, dim_mults=(1, 4))).net)
    fused = fuse(program)
    made = {v for op in fused.ops for v in op.outs} | set(fused.inputs)
    for value, p in enumerate(place(fused).places):
        assert (p is not None) == (value in made)


def test_a_value_is_joined_once_and_then_copied():
    b = Builder((3, 4))
    x, y = b.mish(0), b.conv(0, "c", 5, k=1)
    first, second = b.concat(x, y), b.concat(y, x)
    program = b.done(b.mish(first), b.mish(second))
    layout = check(program)
    assert layout.views == {first}


@pytest.mark.parametrize("what", ["an input", "itself", "a concat", "a slice"])
def test_concats_of_what_cannot_move(what):
    b = Builder((6, 4))
    x = b.mish(0)
    other = {
        "an input": 0,
        "itself": x,
        "a concat": b.concat(x, b.conv(x, "c", 2, k=1)),
        "a slice": b.slice(x, 1, 3),
    }[what]
    out = b.concat(other, x) if what != "itself" else b.concat(x, x)
    layout = check(b.done(b.mish(out)))
    assert out not in layout.views


def test_slices_of_slices_and_of_joined_values():
    b = Builder((6, 4))
    joined = b.concat(b.mish(0), b.conv(0, "c", 9, k=3))
    inner = b.slice(b.slice(joined, 4, 8), 1, 5)
    layout = check(b.done(b.mish(inner), joined))
    assert layout.places[inner].channel == 5 and layout.places[inner].offset == layout.places[joined].offset


def test_an_op_without_convolutions_needs_no_halo():
    b = Builder((3, 4))
    assert place(b.done(b.mish(0))).halo == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_flat_says_the_same_as_the_program(name):
    program = fuse(NETWORKS[name])
    layout = place(program)
    rows = flat(program, layout)
    assert rows.weights == tuple(program.weights)
    ops = [op for op in program.ops if op.outs[0] not in layout.views]
    assert rows.ops.dtype == rows.values.dtype == np.int32 and len(rows.ops) == len(ops)
    for op, row in zip(ops, rows.ops):
        found = dict(zip(OP_FIELDS, row.tolist()))
        assert found["opcode"] == KINDS[op.kind].opcode
        assert [found[f] for f in ("out", "out2") if found[f] >= 0] == list(op.outs)
        assert [found[f] for f in ("in", "in2") if found[f] >= 0] == list(op.ins)
        names = [rows.weights[found[f]] for f in ("w", "w2", "w3", "w4") if found[f] >= 0]
        assert names == list(op.weights)
        for attr, value in op.attrs.items():
            if attr in ("eps", "q_scale"):
                assert struct.unpack("<f", struct.pack("<i", found[attr]))[0] == np.float32(value)
            else:
                assert found[attr] == (0 if attr == "act" else value)
    for shape, p, row in zip(program.shapes, layout.places, rows.values.tolist(), strict=True):
        assert row == [*shape, *((p.offset, p.ld, p.channel) if p else (-1, -1, -1))]
