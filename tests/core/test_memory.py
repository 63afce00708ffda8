"""plan_memory: a program run in its arena with labels for numbers, so that every read must find its own."""

from collections import Counter

import numpy as np
import pytest
from core.networks import NETWORKS
from core.random_programs import shaped

from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import fuse, plan_memory, vjp
from diffuser_fast.core.program import Builder
from diffuser_fast.core.spec import UNetSpec, ValueSpec

UNSET, ZERO = -2, -1


class Labelled:
    """An arena of n trajectories whose cells hold (trajectory, value, time, channel) as one number."""

    def __init__(self, program, arena, n):
        self.program, self.arena, self.n = program, arena, n
        self.made = {out: op for op in program.ops for out in op.outs}
        self.cells = np.full(n * arena.size, UNSET, np.int64)

    def where(self, value, halo):
        """Indices ``[n, H + 2 halo or H, C]`` by the formula engines use."""
        (channels, length), view, pad = self.program.shapes[value], self.arena.views[value], self.arena.halo
        times = np.arange(-pad, length + pad) if halo else np.arange(length)
        b = np.arange(self.n)[:, None, None]
        time = b * (length + 2 * pad) + pad + times[None, :, None]
        return self.n * view.offset + time * view.ld + view.channel + np.arange(channels)

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
        self.cells[self.where(value, halo=True)] = ZERO
        self.cells[self.where(value, halo=False)] = self.label(value)

    def holds(self, value):
        inside = np.array_equal(self.cells[self.where(value, halo=False)], self.label(value))
        return inside and self.cells[self.where(value, halo=True)][self.outside(value)].max(initial=ZERO) == ZERO

    def outside(self, value):
        length, pad = self.program.shapes[value][1], self.arena.halo
        times = np.arange(length + 2 * pad)
        return np.broadcast_to(
            ((times < pad) | (times >= pad + length))[None, :, None], self.where(value, halo=True).shape
        )


def check(program, n=2):
    """Run it; every read must find its label, and no op may write to a cell of its own inputs."""
    arena = plan_memory(program)
    run = Labelled(program, arena, n)
    for value in program.inputs:
        run.write(value)
    for number, op in enumerate(program.ops):
        for value in op.ins:
            assert run.holds(value), f"op {number}, {op.kind}, finds %{value} overwritten"
        if op.outs[0] in arena.aliases:
            assert op.kind in ("concat", "slice")
            assert run.holds(op.outs[0]), f"op {number}: the alias %{op.outs[0]} is not where its parts are"
            continue
        read = np.concatenate([run.where(v, halo=True).ravel() for v in op.ins])
        for value in op.outs:
            assert not np.isin(run.where(value, halo=True), read).any(), f"op {number} writes over its own input"
            run.write(value)
    for value in (*program.inputs, *program.outputs):
        assert run.holds(value), f"%{value} is gone at the end"
    return arena


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fused", [False, True])
def test_networks(name, fused):
    program = fuse(NETWORKS[name]) if fused else NETWORKS[name]
    arena = check(program)
    joined = [op for op in program.ops if op.kind == "concat" and op.outs[0] in arena.aliases]
    assert len(joined) == sum(op.kind == "concat" for op in program.ops), "a concat of the network is copied"


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed):
    check(shaped(seed), n=1 + seed % 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_views_are_aligned_and_inside(name):
    program = fuse(NETWORKS[name])
    arena = plan_memory(program)
    for (channels, length), view in zip(program.shapes, arena.views, strict=True):
        if view is not None:
            assert view.offset % 16 == 0 and view.ld % 16 == 0 and view.channel + channels <= view.ld
            assert view.offset + view.ld * (length + 2 * arena.halo) <= arena.size


@pytest.mark.parametrize("name", NETWORKS)
def test_the_halo_covers_what_convolutions_read(name):
    program = fuse(NETWORKS[name])
    halo = plan_memory(program).halo
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
    arena = plan_memory(program)
    alive = Counter()
    last = {v: n for n, op in enumerate(program.ops) for v in op.ins} | dict.fromkeys(program.outputs, len(program.ops))
    born = {v: n for n, op in enumerate(program.ops) for v in op.outs} | dict.fromkeys(program.inputs, 0)
    for value in born:
        channels, length = program.shapes[value]
        for n in range(born[value], last.get(value, born[value]) + 1):
            alive[n] += channels * (length + 2 * arena.halo)
    # Channels are rounded up to 16, joined concats live as long as their longer part, and gaps remain.
    assert max(alive.values()) / 2 < arena.size < 3 * max(alive.values())


def test_a_plan_of_hopper_fits_a_cache():
    assert 4 * plan_memory(fuse(lower(UNetSpec(32, 14)).net)).size < 96 << 10
    assert 4 * plan_memory(fuse(vjp(lower(ValueSpec(32, 14)).net))).size < 256 << 10


def test_values_that_are_never_made_have_no_view():
    program = vjp(lower(ValueSpec(8, 5, dim=8, dim_mults=(1, 4))).net)
    fused = fuse(program)
    made = {v for op in fused.ops for v in op.outs} | set(fused.inputs)
    for value, view in enumerate(plan_memory(fused).views):
        assert (view is not None) == (value in made)


def test_a_value_is_joined_once_and_then_copied():
    b = Builder((3, 4))
    x, y = b.mish(0), b.conv(0, "c", 5, k=1)
    first, second = b.concat(x, y), b.concat(y, x)
    program = b.done(b.mish(first), b.mish(second))
    arena = check(program)
    assert arena.aliases == {first}


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
    arena = check(b.done(b.mish(out)))
    assert out not in arena.aliases


def test_slices_of_slices_and_of_joined_values():
    b = Builder((6, 4))
    joined = b.concat(b.mish(0), b.conv(0, "c", 9, k=3))
    inner = b.slice(b.slice(joined, 4, 8), 1, 5)
    arena = check(b.done(b.mish(inner), joined))
    assert arena.views[inner].channel == 5 and arena.views[inner].offset == arena.views[joined].offset


def test_an_op_without_convolutions_needs_no_halo():
    b = Builder((3, 4))
    assert plan_memory(b.done(b.mish(0))).halo == 0
