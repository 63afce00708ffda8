"""Noise schedules against the paper's formula and published numbers."""

import math

import numpy as np
import pytest
from oracle.goldens import FOLDER, NAMES

from diffuser_fast.core.schedule import BUFFERS, Schedule, cosine


def abar(i, n, s=0.008):
    """Nichol and Dhariwal 2021, equation 17, one number at a time."""
    f = lambda u: math.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return f(i / n) / f(0)


@pytest.mark.parametrize("n", [1, 2, 20, 64, 256, 1000])
def test_cosine_is_the_papers_formula(n):
    schedule = cosine(n)
    assert schedule.n_steps == n
    # The last beta is clipped, so the last product is not the formula's.
    expected = [abar(i + 1, n) for i in range(n - 1)]
    np.testing.assert_allclose(schedule.alphas_cumprod[:-1], expected, rtol=1e-11)
    assert schedule.betas[-1] == 0.999 and (schedule.betas <= 0.999).all()


def test_twenty_steps_as_published():
    ac = cosine(20).alphas_cumprod
    assert [f"{x:.5g}" for x in ac[:2]] == ["0.99201", "0.97209"] and f"{ac[-1]:.0e}" == "6e-06"


def test_the_posterior_is_bayes():
    """q(x_{t-1} | x_t, x_0) as the product of two Gaussians, without the closed forms of equation 7."""
    schedule = cosine(20)
    for t in range(1, 20):
        beta, before = schedule.betas[t], schedule.alphas_cumprod[t - 1]
        # x_t = sqrt(1 - beta) x_{t-1} + noise;  x_{t-1} = sqrt(before) x_0 + noise: precisions add.
        precision = (1 - beta) / beta + 1 / (1 - before)
        assert schedule.posterior_variance[t] == pytest.approx(1 / precision)
        assert schedule.posterior_mean_coef1[t] == pytest.approx(math.sqrt(before) / (1 - before) / precision)
        assert schedule.posterior_mean_coef2[t] == pytest.approx(math.sqrt(1 - beta) / beta / precision)
        assert schedule.posterior_log_variance_clipped[t] == pytest.approx(-math.log(precision))


def test_the_first_step_has_no_variance_and_a_clipped_logarithm():
    schedule = cosine(20)
    assert schedule.posterior_variance[0] == 0
    assert schedule.posterior_log_variance_clipped[0] == pytest.approx(math.log(1e-20))


def test_x0_from_x_and_noise():
    schedule = cosine(8)
    x0, noise = 0.3, -1.2
    xt = np.sqrt(schedule.alphas_cumprod) * x0 + np.sqrt(1 - schedule.alphas_cumprod) * noise
    found = schedule.sqrt_recip_alphas_cumprod * xt - schedule.sqrt_recipm1_alphas_cumprod * noise
    np.testing.assert_allclose(found, x0, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_goldens_schedules_are_ours_to_float32(name):
    from diffuser_fast.formats import load

    schedule = load(FOLDER / name).schedule
    ours = cosine(schedule.n_steps)
    for buffer in BUFFERS:
        np.testing.assert_allclose(getattr(schedule, buffer), getattr(ours, buffer), rtol=1e-3, atol=2e-7)


def test_buffers_are_verbatim_and_frozen():
    buffers = {name: np.float32(getattr(cosine(8), name)) for name in BUFFERS}
    schedule = Schedule.from_buffers({**buffers, "unrelated": 1})
    for name in BUFFERS:
        assert getattr(schedule, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(schedule, name), buffers[name])
        with pytest.raises(ValueError):
            getattr(schedule, name)[0] = 1


def test_what_a_schedule_refuses():
    good = {name: getattr(cosine(8), name) for name in BUFFERS}
    with pytest.raises(ValueError, match=r"buffers \['betas'\] are missing"):
        Schedule.from_buffers({name: good[name] for name in BUFFERS[1:]})
    with pytest.raises(
        ValueError, match=r"posterior_variance must be finite numbers of shape \[T\], found shape \(7,\)"
    ):
        Schedule.from_buffers({**good, "posterior_variance": np.zeros(7)})
    with pytest.raises(ValueError, match="betas must be finite"):
        Schedule.from_buffers({**good, "betas": np.full(8, np.nan)})
    with pytest.raises(ValueError, match=r"alphas_cumprod must lie in \(0, 1\]"):
        Schedule.from_buffers({**good, "alphas_cumprod": np.full(8, 1.5)})
    with pytest.raises(ValueError, match="n_steps: found 0"):
        cosine(0)
