"""The kernels, through the backend: every op case within its bound, and loops of every kind that are short enough."""

import numpy as np
import pytest
from bounds import within

from diffuser_fast import conformance as c
from diffuser_fast.backends import triton
from diffuser_fast.core.loop import ranking
from diffuser_fast.core.ops import ACTS

TARGET = c.Target("triton", device="cpu")
# Each kind of loop in the case table, once: a guided denoising step is some eighty launches of tens of milliseconds.
LOOPS = (
    "FiLM of a condition", "attention in every block", "a condition along time",
    "ddim, noise of the unclipped x0",
    "a grid that ends in noise, ranked at its end",
    "x0, clipped", "epsilon, clipped, guided", "ranked by value alone", "value without a middle",
    "gradient added to x and to clipped x0", "situations with candidates", "kernel 3, groups 4", "narrow",
    "attention", "dpm_solver_pp_2m, clipped, guided", "tables of this plan", "tables of each trajectory",
    "tables added for each trajectory", "parts of observations",
)  # fmt: skip
STEPS = 2  # of each loop, the last


@pytest.mark.parametrize("case", c.op_cases(), ids=lambda case: case.name)
def test_ops_are_within_their_bounds(case):
    wrong = [str(result) for result in c.run_ops(TARGET, [case]) if not result.verdict.passed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", LOOPS)
def test_plans_are_within_their_bounds(name):
    case = next(case for case in c.loop_cases() if case.name == name)
    loop = c.last_steps(case.loop, STEPS)
    tape = case.tape[: loop.rows + 1]
    tables = case.tables and case.tables.steps(slice(-loop.rows, None))
    found = case.plan(TARGET.ready(loop, case.batch), noise=tape, tables=tables)
    implied = c.implied_by_plan(loop, case.inpainting, tape, tables=tables)
    for field in ("x", "chain", *(("values",) if case.guide else ())):
        within(getattr(found, field), getattr(implied, field), field)
    np.testing.assert_array_equal(found.order, ranking(found.values, case.candidates or case.batch))


def test_every_kernel_ran():
    """The cases above launch every kernel there is, every mode of a convolution, every activation, and tables in every
    form."""
    from diffuser_fast.backends.gpu.staging import Mode, TableForm
    from diffuser_fast.backends.triton.launches import KERNELS

    launches = []
    for case in c.loop_cases():
        if case.name in LOOPS:
            tables = {} if case.tables is None else {"denoiser_tables": TableForm.of(case.tables.denoiser)}
            mode = Mode(candidates=case.candidates or case.batch, **tables)
            launches += triton.launch_list(case.loop, batch=case.batch, capability=None, mode=mode).launches
    kernels = {launch.kernel for launch in launches}
    alone = {"group_norm"}  # which fused networks do not need; the op cases do
    assert kernels == set(KERNELS) - alone
    convolutions = [launch.constants for launch in launches if launch.kernel == "conv"]
    assert {one["MODE"] for one in convolutions} == {"none", "norm_act", "act", "norm_act_vjp", "act_vjp"}
    forms = {(one["LDT"] > 0, one["LDS"] > 0) for one in convolutions if one["AFTER"]}
    assert forms == {(False, False), (True, False), (False, True)}
    cases = [op for case in c.op_cases() for op in case.program.ops]
    assert {op.attrs["act"] for op in cases if op.kind == "conv_block"} == set(ACTS)
