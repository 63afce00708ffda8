"""What denoising steps are thought to cost: fitted, corrected, with a margin that one hiccup does not spoil."""

import numpy as np
import pytest

from diffuser_fast.core.costs import LEAST_MARGIN, MOST_MARGIN, Costs, Measured
from diffuser_fast.core.samplers import StepTable

GUIDED = [2, 2, 2, 1, 1, 0, 0, 0]
STEPS = StepTable(np.arange(8)[::-1], 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, guide_steps=np.array(GUIDED))
ONCE, ROW, GRADIENT = 1e-3, 2e-3, 3e-3


def seconds(rows, slower=1.0):
    return ONCE + slower * sum(ROW + GRADIENT * GUIDED[k] for k in rows)


def made(threads=2):
    kinds = ([0, 1, 2, 3], [5, 6, 7], [3, 4], list(range(8)))
    return Costs(STEPS, [Measured(rows, seconds(rows)) for rows in kinds], threads=threads)


def test_costs_are_those_of_the_measured_plans():
    costs = made()
    np.testing.assert_allclose(costs.rows("shared"), (1 + LEAST_MARGIN) * (ROW + GRADIENT * np.array(GUIDED)))
    np.testing.assert_allclose(costs.rows("alone"), 2 * costs.rows("shared"))
    assert costs.plan([0, 7], costs.rows("shared")) == pytest.approx(
        ONCE + (1 + LEAST_MARGIN) * (2 * ROW + 2 * GRADIENT)
    )


def test_a_hiccup_is_no_rule_and_a_slower_machine_is():
    costs, rows = made(), range(8)
    before = costs.plan(rows, costs.rows("shared"))
    for n in range(100):
        costs.learn(rows, seconds(rows, 20.0 if n == 50 else 1.0), "shared")
    assert costs.plan(rows, costs.rows("shared")) < 1.1 * before
    for _ in range(100):
        costs.learn(rows, seconds(rows, 3.0), "shared")
    assert costs.plan(rows, costs.rows("shared")) == pytest.approx(seconds(rows, 3 * (1 + LEAST_MARGIN)), rel=0.1)
    assert costs.plan(rows, costs.rows("alone")) == pytest.approx(2 * before, rel=0.1)


def test_the_margin_is_bounded():
    costs, rows = made(), range(8)
    rng = np.random.default_rng(0)
    for _ in range(200):
        costs.learn(rows, seconds(rows, rng.choice([0.5, 10.0])), "shared")
    assert costs.margin("shared") == MOST_MARGIN
