"""The C++ engine against the reference in torch: every network at its real size, by the yardstick."""

import numpy as np
import pytest
import torch
from csrc.engines import (
    CHEETAH,
    HOPPER,
    SMALL,
    every_isa,
    needs_engine,
    random_inpainting,
    random_loop,
    random_tape,
    random_weights,
)  # fmt: skip

from diffuser_fast.backends import cpu, reference
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.spec import UNetSpec, ValueSpec

pytestmark = needs_engine

MAZE = UNetSpec(128, 6, dim_mults=(1, 4, 8)), ValueSpec(128, 6, dim_mults=(1, 4, 8), middle="none")
PROGRAMS = {
    "hopper": lower(HOPPER[0]).net,
    "hopper value": lower(HOPPER[1]).net,
    "hopper gradient": vjp(lower(HOPPER[1]).net),
    "cheetah": lower(CHEETAH[0]).net,
    "cheetah gradient": vjp(lower(CHEETAH[1]).net),
    "maze": lower(MAZE[0]).net,
    "maze gradient": vjp(lower(MAZE[1]).net),
    "odd": lower(SMALL[0]).net,
}


def within(found, exact, ordinary):
    """RMS and largest error at most twice those of torch in float32, over many numbers (the yardstick of the docs)."""
    tiny = 8 * 2.0**-24 * np.abs(exact).max()
    mine, its = np.abs(found - exact), np.abs(ordinary - exact)
    assert mine.max() <= 2 * its.max() + tiny
    assert np.sqrt(np.mean(mine**2)) <= 2 * np.sqrt(np.mean(its**2)) + tiny


@every_isa
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(isa, name, fused):
    program, batch = PROGRAMS[name], 6
    weights = random_weights(program.weights)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((batch, *program.shapes[v])).astype(np.float32) for v in program.inputs]
    table = rng.standard_normal(program.table_width).astype(np.float32)

    def run(dtype):
        def tensor(array):
            return torch.tensor(array, dtype=dtype)

        named = {key: tensor(value) for key, value in weights.items()}
        return [y.numpy() for y in reference.run(program, named, [tensor(x) for x in inputs], tensor(table))]

    found = cpu.run(fuse(program) if fused else program, weights, inputs, table, threads=2, isa=isa)
    for y, exact, ordinary in zip(found, run(torch.float64), run(torch.float32), strict=True):
        within(y, exact, ordinary)


@every_isa
@pytest.mark.parametrize("specs", [HOPPER, CHEETAH, MAZE], ids=["hopper", "cheetah", "maze"])
def test_plans(isa, specs):
    loop = random_loop(specs, rows=3, clip=specs is MAZE)
    inpainting, tape = random_inpainting(loop), random_tape(loop, 3)
    exact = reference.ready(loop, batch=3, precision="float64")(inpainting, tape, chain=True)
    ordinary = reference.ready(loop, batch=3)(inpainting, tape, chain=True)
    found = cpu.ready(loop, batch=3, threads=2, isa=isa)(inpainting, tape, chain=True)
    within(found.x, exact.x, ordinary.x)
    within(found.chain, exact.chain, ordinary.chain)
    within(found.values, exact.values, ordinary.values)
    assert np.array_equal(found.order, exact.order)
    # Each denoising step from the exact state before it.
    for k in range(loop.rows):
        one = cpu.ready(loop, batch=3, threads=1, isa=isa)
        if k and loop.steps.d[k]:
            break  # this step also looks at the previous x0, which a restart does not have
        after = one(inpainting, tape, x=exact.chain[:, k].astype(np.float32), start=k, chain=True).chain[:, 1]
        assert np.abs(after - exact.chain[:, k + 1]).max() < 1e-4


@every_isa
def test_64_plans_are_64_single_plans(isa):
    loop = random_loop(HOPPER, rows=2, guide_steps=(1, 0))
    inpainting, noise = random_inpainting(loop), Seeded(3, 1)
    many = cpu.ready(loop, batch=64, threads=2, isa=isa)(inpainting, noise)
    tape = np.stack([reference.draw(3, 1, entry, 64, loop.horizon, loop.transition_dim) for entry in range(3)])
    exact = reference.ready(loop, batch=64)(inpainting, tape)
    assert np.abs(many.x - exact.x).max() < 1e-4
    # The first sample of a seeded batch of one has the same address.
    alone = cpu.ready(loop, batch=1, threads=1, isa=isa)(inpainting, noise)
    assert np.array_equal(alone.x[0], many.x[0]) and alone.values[0] == many.values[0]
