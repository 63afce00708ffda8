"""Stages run in numpy equal the reference in float64: all op cases, all loop cases, in arenas of one and of several."""

from dataclasses import replace

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
    for group in (1, 3):
        found = numpy_engine.run(case.program, case.weights, case.inputs, case.table, group=group)
        assert set(found) == set(implied)
        for name in found:
            within(found[name], implied[name], name)


@pytest.mark.parametrize("case", c.loop_cases(), ids=named)
def test_plans_are_those_of_the_reference(case):
    implied = c.implied_by_plan(case.loop, case.inpainting, case.tape, tables=case.tables, arithmetic=FLOAT64)
    group = 3 if case.batch > 1 else 1
    found = case.plan(numpy_engine.NumpyEngine(case.loop, case.batch, group=group))
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


def overwritten(stages):
    """Stages that write what they read themselves: warps, tiles and the blocks of a cluster run ahead of each other."""
    found = []
    for n, stage in enumerate(stages):
        elementwise = stage.kind in (Kind.GUIDANCE, Kind.UPDATE)
        reads = set() if elementwise else set().union(*(cells(*at) for at in stage.reads()))
        if reads & set().union(*(cells(*at) for at in stage.writes())):
            found.append(n)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_no_stage_writes_what_it_reads(name):
    program = fuse(NETWORKS[name])
    weights = {w: np.zeros(shape, np.float32) for w, shape in program.weights.items()}
    stages = program_stages(program, weights).stages
    assert not overwritten(stages)
    n, stage = next((n, stage) for n, stage in enumerate(stages) if stage.kind == Kind.CONV)
    assert overwritten([*stages[:n], replace(stage, y=stage.x)])  # which would be seen
