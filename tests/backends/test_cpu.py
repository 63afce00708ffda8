"""The C++ engine against the reference in torch: every network at its real size, within its bound."""

from functools import cache

import numpy as np
import pytest
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

from diffuser_fast import conformance as c
from diffuser_fast.backends import cpu
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.core.loop import ranking
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


SEEDS = range(3)


def judged(found, implied, what=""):
    verdict = c.judge(found, implied)
    assert verdict.passed, f"{what}: {verdict}"


@cache
def case(name):
    """Weights, inputs and table for a program of PROGRAMS, and what float32 implies for its outputs."""
    program, batch, rng = PROGRAMS[name], 6, np.random.default_rng(0)
    weights = random_weights(program.weights)
    inputs = {
        name: rng.standard_normal((batch, *program.shapes[v])).astype(np.float32) for name, v in program.inputs.items()
    }
    table = rng.standard_normal(program.table_width).astype(np.float32)
    return weights, inputs, table, c.implied_by_program(program, weights, inputs, table)


@every_isa
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(isa, name, fused):
    program, (weights, inputs, table, implied) = PROGRAMS[name], case(name)
    found = cpu.evaluate(fuse(program) if fused else program, weights, inputs, table, threads=2, isa=isa)
    for output, bound in implied.items():
        judged(found[output], bound, f"output {output}")


LOOPS = {"hopper": HOPPER, "cheetah": CHEETAH, "maze": MAZE}


@cache
def plan_case(name):
    """A loop, and for each seed its conditions, its tape, what is implied for the plan and for single steps."""
    loop, seeded = random_loop(LOOPS[name], rows=3, clip=name == "maze"), []
    for seed in SEEDS:
        inpainting, tape = random_inpainting(loop, seed=5 + 10 * seed), random_tape(loop, 3, seed=6 + 10 * seed)
        implied = c.implied_by_plan(loop, inpainting, tape)
        # Each denoising step from the exact state before it; but one that looks at the previous x0 has no restart.
        alone = [k for k in range(loop.rows) if not k or not loop.steps.d[k]]
        states = {k: implied.chain.exact[:, k].astype(np.float32) for k in alone}
        steps = {k: (x, c.implied_by_plan(loop, inpainting, tape, x=x, start=k).chain[:, 1]) for k, x in states.items()}
        seeded.append((inpainting, tape, implied, steps))
    return loop, seeded


@every_isa
@pytest.mark.parametrize("name", LOOPS)
def test_plans(isa, name):
    loop, seeded = plan_case(name)
    engine = cpu.ready(loop, batch=3, threads=2, isa=isa)
    found = [engine(inpainting, tape, chain=True) for inpainting, tape, _, _ in seeded]
    for field in ("x", "chain", "values"):
        judged([getattr(one, field) for one in found], [getattr(implied, field) for _, _, implied, _ in seeded], field)
    for one, (_, _, implied, _) in zip(found, seeded, strict=True):
        assert np.array_equal(one.order, ranking(one.values, 3))
        assert np.ptp(implied.values.exact) > 0.01
    one = cpu.ready(loop, batch=3, threads=1, isa=isa)
    for inpainting, tape, _, steps in seeded:
        for k, (x, bound) in steps.items():
            judged(one(inpainting, tape, x=x, start=k, chain=True).chain[:, 1], bound, f"denoising step {k}")


@cache
def by_seed(noise):
    loop = random_loop(HOPPER, rows=2, guide_steps=(1, 0))
    return c.implied_by_plan(loop, random_inpainting(loop), noise, batch=4)


@every_isa
def test_64_plans_are_64_single_plans(isa):
    loop = random_loop(HOPPER, rows=2, guide_steps=(1, 0))
    inpainting, noise = random_inpainting(loop), Seeded(3, 1)
    many = cpu.ready(loop, batch=64, threads=2, isa=isa)(inpainting, noise)
    few = cpu.ready(loop, batch=4, threads=2, isa=isa)(inpainting, noise)
    assert np.array_equal(few.x, many.x[:4])
    judged(few.x, by_seed(noise).x)
    # The first sample of a seeded batch of one has the same address.
    alone = cpu.ready(loop, batch=1, threads=1, isa=isa)(inpainting, noise)
    assert np.array_equal(alone.x[0], many.x[0]) and alone.values[0] == many.values[0]


@cache
def narrow(precision):
    loop = random_loop(HOPPER, rows=3)
    inpainting, tape = random_inpainting(loop), random_tape(loop, 2)
    return loop, inpainting, tape, c.implied_by_plan(loop, inpainting, tape, arithmetic=c.ARITHMETIC[precision])


@every_isa
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_plan_deviates_by_what_its_precision_loses(isa, precision):
    """A whole guided plan is within the bound of narrow operands, and is not within that of float32."""
    loop, inpainting, tape, implied = narrow(precision)
    found = cpu.ready(loop, batch=2, precision=precision, threads=2, isa=isa)(inpainting, tape)
    assert c.judge(found.x, implied.x, exactness="fast").passed
    assert not c.judge(found.x, c.implied_by_plan(loop, inpainting, tape).x, exactness="close").passed
