"""The CUDA kernels in the emulator: every op and every loop within its bound, with nothing to report.

Each goes under two schedules: in lock step, and with warps in an order by seed and stages cut into more tiles. Of loops
the first is a launch for every stage, the second the whole plan in one.
"""

import numpy as np
import pytest
from bounds import within
from emulated.device import EmulatedDevice
from emulated.emulator import compiler
from emulated.short import Short

from diffuser_fast import conformance as c
from diffuser_fast.backends.cuda import engine as engines
from diffuser_fast.backends.cuda.division import Division
from diffuser_fast.backends.cuda.one_program import launched

pytestmark = pytest.mark.skipif(compiler() is None, reason="the emulator's kernels are compiled by g++")

PRECISIONS = ("float32", "fp16")
SCHEDULES = {  # how loops are launched -> on what device
    "stages": {"multiprocessors": 1, "seed": 0},
    "loop": {"multiprocessors": 12, "seed": 5},
}
# Whose kernels are the same in both precisions, and computed in float32.
SAME = {"add", "concat", "slice", "step_bias", "film", "channel_norm", "group_norm", "group_norm_vjp"}
BEYOND = {"maze2d large"}  # whose values are more than a block's shared memory


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", c.op_cases(), ids=lambda case: case.name)
def test_ops_are_within_their_bounds(case, precision):
    by = "float32" if {op.kind for op in case.program.ops} <= SAME else precision
    implied = c.implied_by_program(case.program, case.weights, case.inputs, case.table, c.ARITHMETIC[by])
    given = case.program, case.weights, case.inputs, case.table
    for device in SCHEDULES.values():
        found = launched(*given, EmulatedDevice(**device), exact=precision == "float32")
        assert set(found) == set(implied)
        for name in implied:
            within(found[name], implied[name], name, exactness=c.Target("cuda", precision=by).exactness)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", [case.name for case in c.loop_cases()])
def test_plans_are_within_their_bounds(name, precision):
    case = Short(name, plans=2)
    for launches, device in SCHEDULES.items():
        way = "stages" if name in BEYOND else launches
        case.judge(case.plan(case.engine(precision, way, **device)), precision)


def divided(monkeypatch, **division):
    monkeypatch.setattr(engines, "divided", lambda *_: Division(**division))


def equal(one, other):
    for field in ("x", "values", "order", "chain"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["situations with candidates", "attention", "dpm_solver_pp_2m, clipped, guided"])
def test_one_launch_has_the_bits_of_a_launch_for_every_stage(name, precision, monkeypatch):
    """Where the work is divided alike; schedules may differ."""
    case = Short(name, plans=3)
    divided(monkeypatch, group=2, tiles=1, room=64 << 10)
    equal(case.plan(case.engine(precision, "loop", seed=5)), case.plan(case.engine(precision, "stages", seed=0)))


@pytest.mark.parametrize("launches", ["cluster", "async"])
@pytest.mark.parametrize(("name", "precision"), [("narrow", "float32"), ("ranked by value alone", "fp16")])
def test_a_cluster_has_the_bits_of_one_block(name, precision, launches, monkeypatch):
    """Eight blocks share the tiles of a stage, and hand over what they computed or send it to each other."""
    case = Short(name, plans=2)
    divided(monkeypatch, group=1, tiles=8, room=64 << 10)
    found = case.plan(case.engine(precision, launches))
    case.judge(found, precision)
    equal(found, case.plan(case.engine(precision, "loop", seed=5)))
