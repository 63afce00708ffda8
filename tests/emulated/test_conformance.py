"""The CUDA kernels in the emulator: every op and every loop within its bound, with nothing to report.

Float32 goes in lock step, a launch for every stage, one trajectory to an arena. Halves go under the other schedule:
several trajectories to an arena and stages cut up; of loops a whole plan in one launch.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from bounds import within
from emulated.emulator import compiler
from emulated.runs import EmulatedEngine, device, evaluate

from diffuser_fast import conformance as c
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.core import noise
from diffuser_fast.core.loop import SamplingLoop, ranking

pytestmark = pytest.mark.skipif(compiler() is None, reason="the emulator is compiled by g++, which is not here")
STEPS = 2  # of each loop: the last ones, where noise, guide and ranking end


@dataclass(frozen=True)
class Way:
    """How something is run, and what it is judged by."""

    precision: str
    exactness: str
    seed: int
    group: int
    tiles: int
    whole: bool

    @property
    def exact(self) -> bool:
        return self.precision == "float32"


FLOATS = Way("float32", "exact", seed=0, group=1, tiles=1, whole=False)
HALVES = Way("fp16", "fast", seed=5, group=2, tiles=6, whole=True)
WAYS = pytest.mark.parametrize("way", [FLOATS, HALVES], ids=lambda way: way.precision)
# Whose kernels are the same in both precisions.
COPIES = {"add", "concat", "slice", "step_bias", "film", "channel_norm", "group_norm", "group_norm_vjp"}


@WAYS
@pytest.mark.parametrize("case", c.op_cases(), ids=lambda case: case.name)
def test_ops_are_within_their_bounds(case, way):
    by = "float32" if {op.kind for op in case.program.ops} <= COPIES else way.precision
    implied = c.implied_by_program(case.program, case.weights, case.inputs, case.table, c.ARITHMETIC[by])
    device().schedule(way.seed)
    found = evaluate(case, exact=way.exact, group=way.group, tiles=way.tiles)
    for name in implied:
        within(found[name], implied[name], name, exactness="exact" if by == "float32" else way.exactness)


def shortened(case: c.LoopCase) -> SamplingLoop:
    """Its last denoising steps."""
    loop, last = case.loop, slice(case.loop.rows - STEPS, None)

    def cut(network):
        return network and replace(network, tables=network.tables.steps(last))

    if loop.rows <= STEPS:
        return loop
    return replace(loop, denoiser=cut(loop.denoiser), guide=cut(loop.guide), steps=loop.steps.only(last))


def planned(case, loop, way, **more):
    device().schedule(way.seed)
    group = way.group if case.batch % 2 == 0 and loop.horizon <= 8 else 1  # what an arena in shared memory has room for
    engine = EmulatedEngine(
        loop, case.batch, exact=way.exact, group=group, tiles=way.tiles, **{"whole": way.whole, **more}
    )
    tables = case.tables and case.tables.steps(slice(-loop.rows, None))
    return case.plan(engine, noise=case.tape[: loop.rows + 1], tables=tables)


@WAYS
@pytest.mark.parametrize("case", c.loop_cases(), ids=lambda case: case.name)
def test_plans_are_within_their_bounds(case, way):
    loop = shortened(case)
    tables = case.tables and case.tables.steps(slice(-loop.rows, None))
    implied = c.implied_by_plan(
        loop, case.inpainting, case.tape[: loop.rows + 1], tables=tables, arithmetic=c.ARITHMETIC[way.precision]
    )
    found = planned(case, loop, way)
    for field in ("x", "chain", *(("values",) if case.guide else ())):
        within(getattr(found, field), getattr(implied, field), field, exactness=way.exactness)
    np.testing.assert_array_equal(found.order, ranking(found.values, case.candidates or case.batch))


SAME = ("value without a middle", "situations with candidates", "attention", "dpm_solver_pp_2m, clipped, guided")


@WAYS
@pytest.mark.parametrize("name", SAME)
def test_one_launch_has_the_bits_of_a_launch_for_every_stage(name, way):
    """Under two schedules, cut up differently."""
    case = next(case for case in c.loop_cases() if case.name == name)
    loop = shortened(case)
    one = planned(case, loop, way, whole=True)
    many = planned(case, loop, replace(way, seed=3), whole=False)
    for field in ("x", "values", "order", "chain"):
        np.testing.assert_array_equal(getattr(one, field), getattr(many, field), err_msg=field)


@pytest.fixture(scope="module")
def small():
    return next(case for case in c.loop_cases() if case.name == "narrow")


@pytest.mark.parametrize("whole", [False, True])
def test_a_seed_is_the_tape_of_core_noise(small, whole):
    loop = small.loop
    engine = EmulatedEngine(loop, 6, whole=whole)
    device().schedule(0)
    found = engine(small.inpainting, Seeded(11, 4), candidates=3, chain=True)
    shape = (6, loop.horizon, loop.transition_dim)
    tape = noise.tape(11, 4, loop.rows, *shape, 3)
    within(found.x, c.implied_by_plan(loop, small.inpainting, tape, engine_draws=True).x)
    assert np.abs(engine(small.inpainting, Seeded(12, 4), candidates=3).x - found.x).max() > 0.1


@pytest.mark.parametrize("whole", [False, True])
def test_a_restart_goes_on_where_the_chain_was(small, whole):
    engine, inpainting = EmulatedEngine(small.loop, 3, whole=whole), small.inpainting
    device().schedule(0)
    through = engine(inpainting, Seeded(3, 0), chain=True)
    np.testing.assert_array_equal(through.chain[:, -1], through.x)
    rest = engine(inpainting, Seeded(3, 0), x=through.chain[:, 2], start=2, chain=True)
    np.testing.assert_array_equal(rest.chain, through.chain[:, 2:])
    tape = noise.tape(3, 0, small.loop.rows, 3, small.loop.horizon, small.loop.transition_dim)
    begun = engine(inpainting, tape, start=2, chain=True)  # without x it begins with the first noise
    np.testing.assert_array_equal(begun.chain[:, 0], tape[0])


def test_a_number_that_is_not_finite_names_the_denoising_step(small):
    loop = small.loop
    tape = noise.tape(0, 0, loop.rows, 3, loop.horizon, loop.transition_dim)
    tape[2, 1, 0, 0] = np.inf  # of denoising step 1
    with pytest.raises(FloatingPointError, match=rf"denoising step 1 \(t = {loop.steps.t[1]}\)"):
        EmulatedEngine(loop, 3)(small.inpainting, tape)
