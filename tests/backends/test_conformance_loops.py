"""Every sampling loop on everything that can run here: within bounds, from noise to plan and step by step."""

import numpy as np
import pytest

from diffuser_fast import conformance as c

CASES = c.loop_cases()
TARGETS = c.targets()


def named(case):
    return case.name


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_plans_are_within_their_bounds(case, target):
    results = list(c.run_loops(target, [case]))
    assert {result.what for result in results} == ({"x", "values"} if case.guide else {"x"})
    wrong = [str(result) for result in results if not result.verdict.passed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_denoising_steps_are_within_their_bounds(case, target):
    results = list(c.run_steps(target, [case]))
    assert len(results) == case.loop.rows
    wrong = [str(result) for result in results if not result.verdict.passed]
    assert not wrong, "\n".join(wrong)


def test_the_table_has_every_kind_of_loop():
    loops = [(case, case.loop) for case in CASES]
    assert {case.sampler for case in CASES} == {"ddpm", "ddim", "dpm_solver_pp_2m"}
    assert {case.guide.n_steps for case in CASES if case.guide} >= {0, 1, 2, 3}
    assert {case.guide.t_stopgrad for case in CASES if case.guide} >= {0, 2, 4}
    assert {(case.prediction, case.clip) for case in CASES} == {
        (p, x) for p in ("x0", "epsilon") for x in (False, True)
    }
    assert {case.unet.dim for case in CASES} >= {16, 24, 32, 48}
    assert {loop.horizon for _, loop in loops} >= {2, 3, 4, 12, 20, 384}
    assert {case.batch for case in CASES} >= {1, 2, 5, 8, 17}
    assert {case.mask for case in CASES} == set(c.MASKS)
    assert max(len(case.unet.dim_mults) for case in CASES) == 5
    assert any(loop.steps.g0.any() and loop.clip for _, loop in loops)
    assert any(loop.steps.g0.any() and not loop.steps.guide_steps.any() for _, loop in loops)
    # Multistep updates, strided noise, steps whose guide does nothing, and a last step whose guide does.
    assert any(loop.steps.d.any() for _, loop in loops)
    assert any(loop.rows < case.n_train and loop.steps.s.any() for case, loop in loops)
    assert any(0 < np.count_nonzero(loop.steps.guide_steps) < loop.rows - 1 for _, loop in loops)
    assert {case.own_tables for case in CASES} == {None, "shared", "each", "added"} and any(
        case.candidates for case in CASES
    )


def test_no_group_of_a_case_is_smaller_than_four_numbers():
    for case in CASES:
        for network in (case.loop.denoiser, case.loop.guide):
            for op in () if network is None else network.program.ops:
                if op.kind == "group_norm":
                    channels, length = network.program.shapes[op.outs[0]]
                    assert channels * length // op.attrs["groups"] >= 4, case.name


def test_a_case_is_drawn_from_its_name_and_seed():
    case = next(case for case in CASES if case.mask == "each its own")
    again, other = case.seeded(case.seed), case.seeded(1)
    np.testing.assert_array_equal(case.tape, again.tape)
    assert not np.array_equal(case.tape, other.tape) and not np.array_equal(
        case.inpainting.values, other.inpainting.values
    )
    assert case.loop is other.loop  # the weights stay
    assert len({case.loop.denoiser.weights["head.out.bias"].tobytes() for case in CASES}) == len(CASES)
