"""Stages run in numpy equal the reference in float64: all op cases, all loop cases, in arenas of one and of several."""

import numpy as np
import pytest
from core.networks import NETWORKS

from diffuser_fast import conformance as c
from diffuser_fast.backends.gpu import header, numpy_engine
from diffuser_fast.backends.gpu.compile import program_stages
from diffuser_fast.backends.gpu.plan import loop_stages
from diffuser_fast.backends.gpu.stages import STAGE_FIELDS, Kind
from diffuser_fast.core.passes import fuse

FLOAT64 = c.ARITHMETIC["float64"]
LOOPS = {case.name: case for case in c.loop_cases()}


def named(case):
    return case.name


def within(found, implied, what):
    verdict = c.judge(found, implied, sides=2)
    assert verdict.passed, f"{what}: {verdict}"


@pytest.mark.parametrize("case", c.op_cases(), ids=named)
def test_ops_are_those_of_the_reference(case):
    implied = c.implied_by_program(case.program, case.weights, case.inputs, case.table, FLOAT64)
    for group, clusters in ((1, False), (3, True)):
        found = numpy_engine.run(
            case.program, case.weights, case.inputs, case.table, group=group, clusters=clusters
        )  # fmt: skip
        assert set(found) == set(implied)
        for name in found:
            within(found[name], implied[name], name)


@pytest.mark.parametrize("case", c.loop_cases(), ids=named)
def test_plans_are_those_of_the_reference(case):
    implied = c.implied_by_plan(case.loop, case.inpainting, case.tape, tables=case.tables, arithmetic=FLOAT64)
    group = 3 if case.batch > 1 else 1
    found = case.plan(numpy_engine.NumpyEngine(case.loop, case.batch, group=group, clusters=True))
    for field in ("x", "chain", *(("values",) if case.guide else ())):
        within(getattr(found, field), getattr(implied, field), field)
    exact = case.plan(c.EXACT.ready(case.loop, case.batch))
    np.testing.assert_array_equal(found.order, exact.order)


def test_a_restart_goes_on():
    case = LOOPS["dpm_solver_pp_2m, clipped, guided"]
    engine = numpy_engine.NumpyEngine(case.loop, case.batch, group=8)
    whole = case.plan(engine)
    rest = case.plan(engine, x=whole.chain[:, 1], start=1)
    exact = case.plan(c.EXACT.ready(case.loop, case.batch), x=whole.chain[:, 1], start=1)
    np.testing.assert_allclose(rest.x, exact.x, rtol=0, atol=1e-12 * np.abs(exact.x).max())


def test_the_header_is_that_of_the_stages():
    from pathlib import Path

    there = Path(__file__).parents[3] / "csrc" / "cuda" / "stage.gen.h"
    assert there.read_text() == header.header(), "python -m diffuser_fast.backends.gpu.header > csrc/cuda/stage.gen.h"


def test_a_row_has_a_number_for_each_field():
    made = loop_stages(LOOPS["hopper"].loop, group=2)
    assert made.rows.shape == (len(made.stages), len(STAGE_FIELDS)) and made.rows.dtype == np.int32
    at = STAGE_FIELDS.index("y")
    for stage, row in zip(made.stages, made.rows):
        if stage.y:
            assert row[at] == 2 * stage.y.offset + stage.y.channel and row[at + 1] == stage.y.ld
        else:
            assert row[at + 1] == 0
    assert (made.script[:, 0] + made.script[:, 1]).max() <= len(made.stages)


def cells(view, channels, length):
    """The floats of one trajectory that a value takes."""
    return {view.offset + t * view.ld + view.channel + c for t in range(length) for c in range(channels)}


def overwritten(stages, clusters):
    """Stages that write what is still needed: what they read themselves, or, where blocks run ahead of each other, what
    was read since the last stage that told all blocks something."""
    recent, found = set(), []
    for n, stage in enumerate(stages):
        elementwise = stage.kind in (Kind.GUIDANCE, Kind.UPDATE)
        reads = set() if elementwise else set().union(*(cells(*at) for at in stage.reads()))
        writes = set().union(*(cells(*at) for at in stage.writes()))
        if writes & (reads | recent):
            found.append(n)
        recent = (recent | reads if not stage.handover else set()) if clusters else set()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_is_used_again_only_when_all_are_done_with_it(name):
    program = fuse(NETWORKS[name])
    weights = {w: np.zeros(shape, np.float32) for w, shape in program.weights.items()}
    for clusters in (False, True):
        made = program_stages(program, weights, clusters=clusters)
        assert not overwritten(made.stages, clusters)
    # The rule costs something somewhere, or it would not be one; and is seen to be broken without it (below).


def test_the_rule_is_needed():
    """Without it some value network is overwritten before a slower block has read it."""
    broken = 0
    for name in NETWORKS:
        program = fuse(NETWORKS[name])
        weights = {w: np.zeros(shape, np.float32) for w, shape in program.weights.items()}
        broken += bool(overwritten(program_stages(program, weights).stages, clusters=True))
    assert broken
