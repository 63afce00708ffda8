"""What denoising steps are thought to cost: fitted, corrected, with a margin that one hiccup does not spoil."""

import numpy as np
import pytest

from diffuser_fast.core.costs import ALIKE, LEAST_MARGIN, MOST_MARGIN, Costs, Measured
from diffuser_fast.core.samplers import StepTable

GUIDED = [2, 2, 2, 1, 1, 0, 0, 0]
STEPS = StepTable(np.arange(8)[::-1], 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, guide_steps=np.array(GUIDED))
ONCE, ROW, GRADIENT = 1e-3, 2e-3, 3e-3


def seconds(rows, slower=1.0):
    return ONCE + slower * sum(ROW + GRADIENT * GUIDED[k] for k in rows)


def made(threads=2):
    kinds = ([0, 1, 2, 3], [5, 6, 7], [3, 4], list(range(8)))
    return Costs(STEPS, [Measured(rows, seconds(rows)) for rows in kinds], threads=threads)


def planned(costs, rows, mode="shared"):
    return costs.plan(len(rows), sum(GUIDED[k] for k in rows), mode)


def bare(costs, mode="shared"):
    """Seconds of each row without a margin."""
    return costs.nanoseconds(mode) * 1e-9 / (1 + costs.margin(mode))


@pytest.mark.parametrize("gradient", [GRADIENT, ROW])
def test_costs_are_those_of_the_measured_plans(gradient):
    """By least squares of relative errors, in which rows and guide steps are presumed to cost the same: where they do
    not, the hundredth part is missed; where they do, nothing."""
    kinds = ([0, 1, 2, 3], [5, 6, 7], [3, 4], list(range(8)))
    counts = np.array([(1, len(k), sum(GUIDED[row] for row in k)) for k in kinds], float)
    took = counts @ (ONCE, ROW, gradient)
    costs = Costs(STEPS, [Measured(rows, s) for rows, s in zip(kinds, took, strict=True)], threads=2)
    presumed = ALIKE / np.median(took / counts[:, 1]) * np.array([[0, 1, -1]])
    once, row, guide_step = np.linalg.lstsq(np.vstack([counts / took[:, None], presumed]), [1, 1, 1, 1, 0], rcond=None)[
        0
    ]
    each = (1 + LEAST_MARGIN) * (row + guide_step * np.array(GUIDED))
    np.testing.assert_allclose(costs.nanoseconds("shared"), each * 1e9, rtol=1e-6)  # in whole nanoseconds
    np.testing.assert_allclose(costs.nanoseconds("alone"), 2 * costs.nanoseconds("shared"), rtol=1e-6)
    assert planned(costs, [0, 7]) == pytest.approx(once + (1 + LEAST_MARGIN) * (2 * row + 2 * guide_step), rel=1e-9)
    off = abs(np.array([once, row, guide_step]) / (ONCE, ROW, gradient) - 1).max()
    assert off < 1e-9 if gradient == ROW else off > 1e-3


def test_noise_does_not_make_rows_free():
    """Rows and guide steps come together in all plans that are timed: noise alone must not tell them apart."""
    steps = StepTable(np.arange(3), 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, guide_steps=np.array([2, 1, 0]))
    kinds = [[0] * 18 + [2] * 2, [0] * 16 + [2] * 2, [1] * 4 + [2], [1] * 3 + [2], [1, 2]]
    rng = np.random.default_rng(0)
    for _ in range(50):
        measured = [Measured(k, sum(1.0 + steps.guide_steps[k]) * rng.uniform(0.8, 1.25)) for k in kinds]
        two, one, none = bare(Costs(steps, measured))
        assert 0.2 < none < 2 and 1.2 < one < 3 and 2 < two < 5


def test_short_plans_teach_what_it_costs_to_begin():
    """Where beginning costs more than was measured, short plans are foreseen after a while, and long ones still are."""
    costs, more = made(), 5e-3
    for n in range(200):
        rows = [7] if n % 2 else list(range(8))
        costs.learn(rows, more + seconds(rows), "shared")
    for rows in ([7], list(range(8))):
        assert costs.once + bare(costs)[list(rows)].sum() == pytest.approx(more + seconds(rows), rel=0.1)


@pytest.mark.parametrize("noise", ["exponential", "normal", "two machines"])
def test_hardly_an_answer_comes_after_the_reserve(noise):
    """Of what passes between a plan's rows and its answer, after the few plans of a calibration."""
    for seed in range(5):
        costs, rng, n = made(), np.random.default_rng(seed), 10_000
        drawn = {
            "exponential": rng.exponential(1 / 20, n),
            "normal": rng.normal(0, 1 / 20, n),
            "two machines": rng.choice([0, 1 / 5], n) + rng.normal(0, 1 / 50, n),
        }[noise]
        usual, late = costs.row / 3, []
        for beyond in usual + costs.row * drawn:
            late.append(len(late) >= 16 and beyond > costs.reserve("shared"))
            costs.answered(beyond, "shared")
        assert np.mean(late) <= 1e-3
        assert usual < costs.reserve("shared") < usual + 1.5 * costs.row
        costs.answered(usual + 100 * costs.row, "shared")  # it was held up: no rule for others
        assert costs.reserve("shared") < usual + 1.7 * costs.row


def test_the_reserve_follows_a_machine_that_has_changed():
    costs = made()
    for usual in (1e-4, 1e-3, 3e-4):
        for _ in range(100):
            costs.answered(usual, "shared")
        assert costs.reserve("shared") >= usual
    assert costs.reserve("alone") > 0  # nothing is known of it


def test_a_hiccup_is_no_rule_and_a_slower_machine_is():
    costs, rows = made(), range(8)
    before = planned(costs, rows)
    for n in range(100):
        costs.learn(rows, seconds(rows, 20.0 if n == 50 else 1.0), "shared")
    assert planned(costs, rows) < 1.1 * before
    for _ in range(100):
        costs.learn(rows, seconds(rows, 3.0), "shared")
    assert planned(costs, rows) == pytest.approx(seconds(rows, 3 * (1 + LEAST_MARGIN)), rel=0.1)
    assert planned(costs, rows, "alone") == pytest.approx(2 * before, rel=0.1)


def test_the_margin_is_bounded():
    costs, rows = made(), range(8)
    rng = np.random.default_rng(0)
    for _ in range(200):
        costs.learn(rows, seconds(rows, rng.choice([0.5, 10.0])), "shared")
    assert costs.margin("shared") == MOST_MARGIN
