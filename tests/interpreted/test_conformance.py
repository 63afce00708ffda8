"""The kernels, through the backend, by the yardstick: every op case, and loops of every kind that are short enough."""

from dataclasses import replace

import numpy as np
import pytest

from diffuser_fast import conformance as c
from diffuser_fast.backends import triton
from diffuser_fast.core.loop import SamplingLoop

TARGET = c.Target("triton", device="cpu")
# Each kind of loop in the case table, once: a guided denoising step is some eighty launches of tens of milliseconds.
LOOPS = (
    "x0, clipped", "epsilon, clipped, guided", "ranked by value alone", "value without a middle",
    "gradient added to x and to clipped x0", "situations with candidates", "kernel 3, groups 4", "narrow",
    "attention", "dpm_solver_pp_2m, clipped, guided", "tables of this plan", "parts of observations",
)  # fmt: skip
STEPS = 2  # of each loop


def shortened(case: c.LoopCase) -> SamplingLoop:
    """The last denoising steps of a case: those where noise, guide and ranking end."""
    loop = case.loop
    return replace(loop, **_cut(loop, loop.rows - STEPS)) if loop.rows > STEPS else loop


def _cut(loop: SamplingLoop, first: int) -> dict:
    def network(net):
        return net and replace(net, tables=net.tables[first:])

    columns = {name: getattr(loop.steps, name)[first:] for name in loop.steps.__dataclass_fields__}
    return {
        "denoiser": network(loop.denoiser), "guide": network(loop.guide), "steps": replace(loop.steps, **columns)
    }  # fmt: skip


def plan(target, case, loop):
    tables = case.tables and tuple(t if t is None else t[-loop.rows :] for t in case.tables)
    return case.plan(target.ready(loop, case.batch), noise=case.tape[: loop.rows + 1], tables=tables)


@pytest.mark.parametrize("case", c.op_cases(), ids=lambda case: case.name)
def test_ops_are_within_the_yardstick(case):
    wrong = [str(result) for result in c.run_ops(TARGET, [case]) if not result.verdict.passed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", LOOPS)
def test_plans_are_within_the_yardstick(name):
    case = next(case for case in c.loop_cases() if case.name == name)
    loop = shortened(case)
    found, own, exact = (plan(target, case, loop) for target in (TARGET, c.REFERENCE, c.EXACT))
    for field in ("x", "chain", *(("values",) if case.guide else ())):
        verdict = c.judge([getattr(found, field)], [getattr(own, field)], [getattr(exact, field)])
        assert verdict.passed, f"{field}: {verdict}"
    np.testing.assert_array_equal(found.order, own.order)


def test_every_kernel_ran():
    """The cases above launch every kernel there is, and every mode of a convolution."""
    from diffuser_fast.backends.triton.launches import KERNELS

    launches = []
    for case in c.loop_cases():
        if case.name in LOOPS:
            launches += triton.launch_list(case.loop, batch=case.batch, capability=None).launches
    kernels = {launch.kernel for launch in launches}
    alone = {"group_norm", "pointwise"}  # which fused networks do not need; the op cases do
    assert kernels == set(KERNELS) - alone
    modes = {launch.constants["MODE"] for launch in launches if launch.kernel == "conv"}
    assert modes == {"none", "norm_act", "act", "norm_act_vjp", "act_vjp"}
