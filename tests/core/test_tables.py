"""Time-embedding tables of a plan: what a sample sees in a denoising step, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest

from diffuser_fast import conformance as c
from diffuser_fast.core.loop import PlanTables, TimeTables

RNG = np.random.default_rng(0)
SHARED, EACH, ADDED = (RNG.normal(size=shape) for shape in ((5, 1, 6), (5, 3, 6), (3, 6)))


def test_a_sample_sees_the_sum_of_the_step_and_its_own():
    both = TimeTables(EACH, ADDED)
    for k in range(5):
        assert TimeTables(SHARED).step(k).shape == (1, 6)
        np.testing.assert_array_equal(both.step(k), EACH[k].astype(np.float32) + ADDED.astype(np.float32))
        np.testing.assert_array_equal(both.steps(slice(k, k + 1)).step(0), both.step(k))


def test_numbers_are_float32_unless_float64_is_asked_for():
    assert TimeTables(SHARED, ADDED).step(0).dtype == np.float32
    exact = TimeTables(SHARED, dtype=np.float64)
    assert exact.steps(slice(1, 3)).per_step.dtype == np.float64
    np.testing.assert_array_equal(exact.step(1), SHARED[1])
    given = SHARED.astype(np.float32)
    assert TimeTables(given).per_step is given  # nothing is copied


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (lambda: TimeTables(EACH[0]), r"tables: per_step: found shape \[3, 6\], expected 3 axes"),
        (lambda: TimeTables(SHARED, ADDED[0]), r"tables: per_sample: found shape \[6\], expected 2 axes"),
    ],
)
def test_axes(tables, message):
    with pytest.raises(ValueError, match=message):
        tables()


@pytest.mark.parametrize("where", ["denoiser", "guide"])
def test_tables_that_do_not_fit_a_loop(where):
    case = next(case for case in c.loop_cases() if case.name == "one guide step")
    loop, n = case.loop, 3
    net, guide = loop.denoiser.tables, loop.guide.tables
    good = net if where == "denoiser" else guide
    rows, _, width = good.per_step.shape
    for per_step, per_sample, message in (
        ((rows + 1, 1, width), None, rf"per_step: found shape \[{rows + 1}, 1, {width}\], expected \[{rows}, 1 or 3"),
        ((rows, 2, width), None, rf"per_step: found shape \[{rows}, 2, {width}\]"),
        ((rows, 3, width - 1), None, rf"per_step: found shape \[{rows}, 3, {width - 1}\]"),
        ((rows, 1, width), (2, width), rf"per_sample: found shape \[2, {width}\], expected \[3, {width}\]"),
        ((rows, 3, width), (1, width), rf"per_sample: found shape \[1, {width}\], expected \[3, {width}\]"),
    ):
        bad = TimeTables(np.zeros(per_step), None if per_sample is None else np.zeros(per_sample))
        tables = PlanTables(bad, guide) if where == "denoiser" else PlanTables(net, bad)
        with pytest.raises(ValueError, match=f"tables: {where}.{message}"):
            loop.plan_tables(tables, n)


def test_what_a_plan_sees():
    case = next(case for case in c.loop_cases() if case.name == "one guide step")
    loop = case.loop
    assert loop.plan_tables(None, 3) == (loop.denoiser.tables, loop.guide.tables)
    own = TimeTables(loop.denoiser.tables.per_step + 1)
    assert loop.plan_tables(PlanTables(own), 3) == (own, loop.guide.tables)
    with pytest.raises(ValueError, match="tables: given for a guide, and the loop has none"):
        replace(loop, guide=None).plan_tables(PlanTables(own, own), 3)
