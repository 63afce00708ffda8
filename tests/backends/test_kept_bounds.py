"""Bounds that are kept in a folder are those that computing gives, and what they are made of tells them apart."""

import kept_bounds
import numpy as np
import pytest

from diffuser_fast.conformance import ARITHMETIC, Implied, implied, loop_cases, op_cases

OP = next(case for case in op_cases() if case.name == "network gradient of value H20")  # of several outputs
LOOP = next(case for case in loop_cases() if case.name == "one guide step")


@pytest.fixture
def counted(tmp_path):
    """Both functions, kept; and how often each was computed."""
    calls = {"implied_by_program": 0, "implied_by_plan": 0}

    def its(name):
        def compute(*arguments, **options):
            calls[name] += 1
            return getattr(implied, name)(*arguments, **options)

        compute.__name__ = name
        return kept_bounds.kept(compute, tmp_path)

    return its("implied_by_program"), its("implied_by_plan"), calls


def same(found, expected):
    for part in ("exact", "errors"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))


def test_a_bound_is_computed_once(counted):
    by_program, by_plan, calls = counted
    first, again = (by_program(OP.program, OP.weights, OP.inputs, OP.table) for _ in range(2))
    assert list(first) == list(again) and len(first) > 1 and all(isinstance(one, Implied) for one in again.values())
    for name in first:
        same(again[name], first[name])
    plan, plan_again = (by_plan(LOOP.loop, LOOP.inpainting, LOOP.tape, tables=LOOP.tables) for _ in range(2))
    for field in ("x", "values", "chain"):
        same(getattr(plan_again, field), getattr(plan, field))
    assert calls == {"implied_by_program": 1, "implied_by_plan": 1}


def test_another_question_has_another_answer(counted):
    by_program, by_plan, calls = counted
    name = next(iter(OP.weights))
    moved = {**OP.weights, name: np.nextafter(OP.weights[name], np.float32(9))}
    for weights, arithmetic in ((OP.weights, "float32"), (moved, "float32"), (OP.weights, "bf16")):
        by_program(OP.program, weights, OP.inputs, OP.table, ARITHMETIC[arithmetic])
    by_plan(LOOP.loop, LOOP.inpainting, LOOP.tape)
    by_plan(LOOP.loop, LOOP.inpainting, 2 * LOOP.tape)
    assert calls == {"implied_by_program": 3, "implied_by_plan": 2}


def test_what_no_digest_can_see_is_computed(counted):
    """Tables of a condition are made by a function."""
    _, by_plan, calls = counted
    case = next(case for case in loop_cases() if case.name == "FiLM of a condition")
    for _ in range(2):
        by_plan(case.loop, case.inpainting, case.tape, tables=case.tables)
    assert calls["implied_by_plan"] == 2


def test_those_of_float64_are_computed_every_time(counted):
    by_program, _, calls = counted
    for _ in range(2):
        by_program(OP.program, OP.weights, OP.inputs, OP.table, arithmetic=ARITHMETIC["float64"])
    assert calls["implied_by_program"] == 2


def test_those_of_other_code_are_removed(tmp_path):
    (tmp_path / "of older code").mkdir()
    (tmp_path / "of older code" / "0.npz").write_bytes(b"")
    kept_bounds.tidy(tmp_path)
    assert not list(tmp_path.glob("of*"))
