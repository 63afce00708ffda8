"""Every op case on everything that can run here, within its bound; and the table of cases itself."""

from dataclasses import replace

import numpy as np
import pytest
from core import interpreter

from diffuser_fast import backends
from diffuser_fast import conformance as c
from diffuser_fast.core.ops import ACTS, KINDS

CASES = c.op_cases()
TARGETS = c.targets()
CPU = [target for target in TARGETS if target.backend == "cpu"]  # whose results are promised to the bit


def named(case):
    return case.name


@pytest.mark.parametrize("name", backends.NAMES)
def test_backends_that_cannot_run_here_say_why(name):
    reason = backends.why_not(name, c.loop_cases()[0].loop)
    if reason is not None:
        pytest.skip(reason)
    assert name in {target.backend for target in TARGETS}


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_errors_are_within_their_bounds(case, target):
    wrong = [str(row) for row in c.run_ops(target, [case]) if not row.verdict.passed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_reference_means_what_the_textbook_says(case):
    """In float64, against an interpreter in plain numpy that shares no code with it."""
    expected = interpreter.run(case.program, case.weights, case.inputs, case.table)
    implied = c.implied_by_program(case.program, case.weights, case.inputs, case.table, c.ARITHMETIC["float64"])
    found = c.EXACT.evaluate(case)
    for name, bound in implied.items():
        assert found[name].dtype == np.float64
        for numbers in (found[name], expected[name]):
            verdict = c.judge(numbers, bound, sides=2)
            assert verdict.passed, verdict


# (Close engines may take another algorithm for a larger batch.)
@pytest.mark.parametrize("target", [target for target in CPU if target.exactness == "exact"], ids=str)
@pytest.mark.parametrize("case", [case for case in CASES if case.batch > 2], ids=named)
def test_a_member_of_a_batch_is_as_if_alone(case, target):
    together = target.evaluate(case)
    for n in range(case.batch):
        alone = replace(case)
        inputs = {name: x[n : n + 1].copy() for name, x in case.inputs.items()}
        alone.__dict__.update(weights=case.weights, table=case.table, inputs=inputs)
        for name, found in target.evaluate(alone).items():
            np.testing.assert_array_equal(found[0], together[name][n])


@pytest.mark.parametrize("target", CPU, ids=str)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_number_of_threads_changes_nothing(case, target):
    one, three = (replace(target, threads=n).evaluate(case) for n in (1, 3))
    for name in one:
        np.testing.assert_array_equal(three[name], one[name])


def test_the_table_has_every_kind_alone_and_fused():
    alone = {case.program.ops[0].kind for case in CASES if len(case.program.ops) == 1}
    assert alone == set(KINDS)


def test_the_table_has_every_activation_wherever_there_is_one():
    ops = [op for case in CASES for op in case.program.ops]
    for kind in ("act", "act_vjp", "conv_block", "norm_act_vjp"):
        assert {op.attrs["act"] for op in ops if op.kind == kind} == set(ACTS), kind


def test_the_table_has_awkward_and_large_sizes():
    convs = [(case, op) for case in CASES for op in case.program.ops if op.kind in ("conv", "conv_block")]
    shapes = [(case.program.shapes[op.ins[0]], case.program.shapes[op.outs[0]], op.attrs) for case, op in convs]
    assert {1, 2, 3, 17, 31, 33, 512} <= {c_in for (c_in, _), _, _ in shapes}
    assert {1, 2, 3, 5, 7, 384} <= {h for (_, h), _, _ in shapes}
    assert any(c_in == 512 and a["k"] == 5 for (c_in, _), _, a in shapes)
    assert {(a["stride"], a["transposed"]) for _, _, a in shapes} >= {(s, t) for s in (1, 2) for t in (False, True)}
    # Adjoints of down-sampling whose output is one longer than the usual.
    assert any(a["transposed"] and a["k"] == 3 and out == 2 * h for (_, h), (_, out), a in shapes)
    blocks = [op for _, op in convs if op.kind == "conv_block"]
    assert {(len(op.ins), len(op.outs), op.attrs["table"] < 0) for op in blocks} == {
        (i, o, t) for i in (1, 2) for o in (1, 2) for t in (False, True)
    }


def test_a_case_is_drawn_from_its_name_and_seed():
    one, again, other = CASES[40], replace(CASES[40]), CASES[40].seeded(1)
    np.testing.assert_array_equal(one.inputs["x"], again.inputs["x"])
    assert not np.array_equal(one.inputs["x"], other.inputs["x"])
    for case in CASES:
        arrays = [*case.weights.values(), *case.inputs.values(), *([] if case.table is None else [case.table])]
        assert all(a.dtype == np.float32 and np.isfinite(a).all() for a in arrays), case.name
        assert all(np.ptp(a) > 0 for a in arrays if a.size > 1 and case.like != "constant"), case.name
