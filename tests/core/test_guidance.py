"""Guidance as columns: which denoising steps are guided, how far, and what a Guide refuses."""

import numpy as np
import pytest

from diffuser_fast.core.guidance import Guide, guided
from diffuser_fast.core.samplers import ddpm
from diffuser_fast.core.schedule import cosine

STEPS = ddpm(cosine(20))


def test_the_published_convention():
    table = guided(STEPS, Guide(scale=0.1, n_steps=2, t_stopgrad=2))
    expected = np.where(STEPS.t >= 2, 0.1 * cosine(20).posterior_variance[STEPS.t], 0)
    np.testing.assert_allclose(table.gx, expected)
    assert table.guide_steps.tolist() == [2] * 18 + [0, 0]  # t = 1 and t = 0 are left alone
    assert not table.g0.any()
    for column in ("a", "b", "s", "variance"):
        np.testing.assert_array_equal(getattr(table, column), getattr(STEPS, column))


@pytest.mark.parametrize("t_stopgrad", [0, 1, 4, 19, 20])
def test_rows_below_t_stopgrad_have_no_guide_step(t_stopgrad):
    table = guided(STEPS, Guide(t_stopgrad=t_stopgrad, scale_by_variance=False))
    np.testing.assert_array_equal(table.guide_steps > 0, table.t >= t_stopgrad)
    np.testing.assert_array_equal(table.gx, np.where(table.t >= t_stopgrad, 0.1, 0))


def test_a_row_without_variance_is_not_moved():
    table = guided(STEPS, Guide(t_stopgrad=0))
    assert table.t[-1] == 0 and table.variance[-1] == 0 and table.guide_steps[-1] == 0


def test_the_gradient_may_be_scaled_by_the_standard_deviation():
    """As clones from before 17 October 2022 do."""
    table = guided(STEPS, Guide(scale=0.1, t_stopgrad=2, variance_power=0.5))
    expected = 0.1 * np.sqrt(cosine(20).posterior_variance[STEPS.t])
    np.testing.assert_allclose(table.gx, np.where(STEPS.t >= 2, expected, 0))


def test_strided_rows_use_the_variance_of_their_own_transition():
    strided = ddpm(cosine(20), n_steps=5)
    table = guided(strided, Guide(scale=1.0, t_stopgrad=0))
    np.testing.assert_allclose(table.gx, strided.variance)
    assert not np.allclose(strided.variance[:-1], cosine(20).posterior_variance[strided.t[:-1]], rtol=0.1)


@pytest.mark.parametrize("guide", [Guide(scale=0), Guide(n_steps=0)])
def test_guides_that_move_nothing(guide):
    assert not guided(STEPS, guide).guide_steps.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": np.nan}, "scale: found nan, expected a finite number"),
        ({"scale": np.inf}, "scale: found inf, expected a finite number"),
        ({"scale": "big"}, "scale: found 'big', expected a finite number"),
        ({"variance_power": np.inf}, "variance_power: found inf, expected a number at least 0"),
        ({"variance_power": -1}, "variance_power: found -1"),
        ({"n_steps": -1}, "n_steps: found -1, expected a whole number at least 0"),
        ({"n_steps": 1.5}, "n_steps: found .*, expected a whole number"),
        ({"n_steps": True}, "n_steps: found .*, expected a whole number"),
        ({"t_stopgrad": -2}, "t_stopgrad: found -2, expected a whole number"),
    ],
)
def test_a_guide_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Guide(**arguments)
