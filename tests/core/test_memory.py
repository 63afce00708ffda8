"""plan_memory: a program run in its arena with labels for numbers, so that every read must find its own."""

import numpy as np
import pytest
from core.networks import NETWORKS
from core.random_programs import shaped

from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import fuse, memory, plan_memory, vjp
from diffuser_fast.core.passes.memory import Buffer, allocate, least_size
from diffuser_fast.core.program import Builder
from diffuser_fast.core.spec import UNetSpec, ValueSpec

UNSET = -1


class Labelled:
    """An arena of n trajectories whose cells hold (trajectory, value, time, channel) as one number."""

    def __init__(self, program, arena, n):
        self.program, self.arena, self.n = program, arena, n
        self.made = {out: op for op in program.ops for out in op.outs}
        self.cells = np.full(n * arena.size, UNSET, np.int64)

    def where(self, value):
        """Indices ``[n, H, C]`` by the formula engines use."""
        (channels, length), view = self.program.shapes[value], self.arena.views[value]
        row = np.arange(self.n)[:, None, None] * length + np.arange(length)[None, :, None]
        return self.n * view.offset + row * view.ld + view.channel + np.arange(channels)

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
        self.cells[self.where(value)] = self.label(value)

    def holds(self, value):
        return np.array_equal(self.cells[self.where(value)], self.label(value))


def check(program, n=2):
    """Run it; every read must find its label, and no op may write to a cell of its own inputs."""
    arena = plan_memory(program)
    run = Labelled(program, arena, n)
    for value in program.inputs.values():
        run.write(value)
    for number, op in enumerate(program.ops):
        for value in op.ins:
            assert run.holds(value), f"op {number}, {op.kind}, finds %{value} overwritten"
        if op.outs[0] in arena.aliases:
            assert op.kind in ("concat", "slice")
            assert run.holds(op.outs[0]), f"op {number}: the alias %{op.outs[0]} is not where its parts are"
            continue
        read = np.concatenate([run.where(v).ravel() for v in op.ins])
        for value in op.outs:
            assert not np.isin(run.where(value), read).any(), f"op {number} writes over its own input"
            run.write(value)
    for value in (*program.inputs.values(), *program.outputs.values()):
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
            assert view.offset + view.ld * length <= arena.size


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_arena_is_hardly_larger_than_what_is_needed_at_one_time(name, fused, monkeypatch):
    seen = []
    monkeypatch.setattr(memory, "allocate", lambda buffers: seen.extend(buffers) or allocate(buffers))
    arena = plan_memory(fuse(NETWORKS[name]) if fused else NETWORKS[name])
    assert least_size(seen) <= arena.size <= 1.03 * least_size(seen)


@pytest.mark.parametrize("seed", range(40))
def test_buffers_that_meet_lie_apart_and_near_the_least(seed):
    rng = np.random.default_rng(seed)
    buffers = []
    for home in range(int(rng.integers(1, 40))):
        born = int(rng.integers(0, 60))
        buffers.append(Buffer(home, 16 * int(rng.integers(1, 50)), born, born + int(rng.integers(0, 8))))
    offsets, size = allocate(buffers)
    for n, one in enumerate(buffers):
        assert offsets[one.home] >= 0 and offsets[one.home] + one.size <= size
        for other in buffers[:n]:
            if one.meets(other):
                assert (
                    offsets[one.home] + one.size <= offsets[other.home]
                    or offsets[other.home] + other.size <= offsets[one.home]
                )
    assert least_size(buffers) <= size <= 1.25 * least_size(buffers)


def test_a_plan_of_hopper_fits_a_cache():
    assert 4 * plan_memory(fuse(lower(UNetSpec(32, 14)).net)).size <= 40 << 10
    assert 4 * plan_memory(fuse(vjp(lower(ValueSpec(32, 14)).net))).size <= 80 << 10


def test_values_that_are_never_made_have_no_view():
    program = vjp(lower(ValueSpec(8, 5, dim=8, dim_mults=(1, 4))).net)
    fused = fuse(program)
    made = {v for op in fused.ops for v in op.outs} | set(fused.inputs.values())
    for value, view in enumerate(plan_memory(fused).views):
        assert (view is not None) == (value in made)


def test_a_value_is_joined_once_and_then_copied():
    b = Builder((3, 4))
    x, y = b.act(0), b.conv(0, "c", 5, k=1)
    first, second = b.concat(x, y), b.concat(y, x)
    program = b.done(b.act(first), b.act(second))
    arena = check(program)
    assert arena.aliases == {first}


@pytest.mark.parametrize("what", ["an input", "itself", "a concat", "a slice"])
def test_concats_of_what_cannot_move(what):
    b = Builder((6, 4))
    x = b.act(0)
    other = {
        "an input": 0,
        "itself": x,
        "a concat": b.concat(x, b.conv(x, "c", 2, k=1)),
        "a slice": b.slice(x, 1, 3),
    }[what]
    out = b.concat(other, x) if what != "itself" else b.concat(x, x)
    arena = check(b.done(b.act(out)))
    assert out not in arena.aliases


def test_slices_of_slices_and_of_joined_values():
    b = Builder((6, 4))
    joined = b.concat(b.act(0), b.conv(0, "c", 9, k=3))
    inner = b.slice(b.slice(joined, 4, 8), 1, 5)
    arena = check(b.done(b.act(inner), joined))
    assert arena.views[inner].channel == 5 and arena.views[inner].offset == arena.views[joined].offset
