"""The CUDA kernels in the emulator: every op and every loop within its bound, with nothing to report.

Float32 goes in lock step, by a launch for every stage. Halves go under another schedule, with stages cut into more
tiles; of loops a whole plan in one launch.
"""

import numpy as np
import pytest
from bounds import within
from emulated.device import EmulatedDevice
from emulated.emulator import compiler
from emulated.short import Short

from diffuser_fast import conformance as c
from diffuser_fast.backends.cuda import engine as engines
from diffuser_fast.backends.cuda.one_program import launched

pytestmark = pytest.mark.skipif(compiler() is None, reason="the emulator's kernels are compiled by g++")

WAYS = {
    "float32": {"multiprocessors": 1, "seed": 0},
    "fp16": {"multiprocessors": 12, "seed": 5},
}  # precision -> the device
# Whose kernels are the same in both precisions, and computed in float32.
SAME = {"add", "concat", "slice", "step_bias", "film", "channel_norm", "group_norm", "group_norm_vjp"}
BEYOND = {"maze2d large"}  # whose values are more than a block's shared memory


@pytest.mark.parametrize("precision", WAYS)
@pytest.mark.parametrize("case", c.op_cases(), ids=lambda case: case.name)
def test_ops_are_within_their_bounds(case, precision):
    by = "float32" if {op.kind for op in case.program.ops} <= SAME else precision
    implied = c.implied_by_program(case.program, case.weights, case.inputs, case.table, c.ARITHMETIC[by])
    device = EmulatedDevice(**WAYS[precision])
    found = launched(case.program, case.weights, case.inputs, case.table, device, exact=precision == "float32")
    assert set(found) == set(implied)
    for name in implied:
        within(found[name], implied[name], name, exactness=c.Target("cuda", precision=by).exactness)


@pytest.mark.parametrize("precision", WAYS)
@pytest.mark.parametrize("name", [case.name for case in c.loop_cases()])
def test_plans_are_within_their_bounds(name, precision):
    case = Short(name, plans=2)
    launches = "loop" if precision == "fp16" and name not in BEYOND else "stages"
    case.judge(case.plan(case.engine(precision, launches, **WAYS[precision])), precision)


def divided(monkeypatch, **division):
    monkeypatch.setattr(engines, "divided", lambda *_: engines.Division(**division))


def equal(one, other):
    for field in ("x", "values", "order", "chain"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


@pytest.mark.parametrize("precision", WAYS)
@pytest.mark.parametrize("name", ["situations with candidates", "attention", "dpm_solver_pp_2m, clipped, guided"])
def test_one_launch_has_the_bits_of_a_launch_for_every_stage(name, precision, monkeypatch):
    """Where the work is divided alike; schedules may differ."""
    case = Short(name, plans=3)
    divided(monkeypatch, group=2, tiles=1, room=64 << 10)
    equal(case.plan(case.engine(precision, "loop", seed=5)), case.plan(case.engine(precision, "stages", seed=0)))


@pytest.mark.parametrize(("name", "precision"), [("narrow", "float32"), ("ranked by value alone", "fp16")])
def test_a_cluster_has_the_bits_of_one_block(name, precision, monkeypatch):
    """Eight blocks share the tiles of a stage, and hand over what they computed."""
    case = Short(name, plans=2)
    divided(monkeypatch, group=1, tiles=8, room=64 << 10)
    found = case.plan(case.engine(precision, "cluster"))
    case.judge(found, precision)
    equal(found, case.plan(case.engine(precision, "loop", seed=5)))
