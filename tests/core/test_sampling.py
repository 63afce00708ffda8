"""How a checkpoint samples by itself: grids, noise, the row that ends it, and the guide's other factors."""

import numpy as np
import pytest

from diffuser_fast.core.guidance import Guide, guided
from diffuser_fast.core.samplers import Sampling, step_grid, step_table
from diffuser_fast.core.schedule import Schedule, cosine


def test_grids():
    assert step_grid(10, 4, "leading").tolist() == [6, 4, 2, 0]
    assert step_grid(10, 4, "truncated").tolist() == [9, 6, 4, 2, 0]  # of 9, 6.75, 4.5, 2.25, 0
    assert step_grid(4, 4, "truncated").tolist() == [3, 2, 1, 0, 0]
    with pytest.raises(ValueError, match="grid: found 'trailing', expected one of linspace, leading, truncated"):
        step_grid(10, 4, "trailing")


def test_a_truncated_grid_ends_in_noise():
    schedule = cosine(10)
    steps = step_table("ddim", schedule, prediction="x0", n_steps=4, grid="truncated", eta=1.0)
    assert steps.rows == 4 and steps.t.tolist() == [9, 6, 4, 2] and steps.s[-1] == 0
    left = steps.a[-1] * 1 + steps.b[-1] * np.sqrt(schedule.alphas_cumprod[2])  # of x0, where x is x0's alone
    np.testing.assert_allclose(left, np.sqrt(schedule.alphas_cumprod[0]))


def test_where_nothing_is_clipped_the_direction_is_the_same():
    one, other = (
        step_table("ddim", cosine(8), prediction="epsilon", n_steps=4, direction=d) for d in ("clipped", "unclipped")
    )
    assert not one.u.any() and other.u.any()
    np.testing.assert_allclose(one.a, other.a + other.u, atol=1e-12)


def test_noise_and_a_final_row():
    plain = Sampling().table(cosine(5), "x0")
    steps = Sampling(noise=0.5, first_noise=0.25, final=True).table(cosine(5), "x0")
    assert steps.first_noise == 0.25 and steps.rows == 6
    np.testing.assert_allclose(steps.s[:-1], 0.5 * plain.s)
    last = {name: getattr(steps, name)[-1] for name in ("p", "q", "a", "b", "d", "s", "u", "t", "seen", "guide_steps")}
    assert last == {"p": 1, "q": 0, "a": 1, "b": 0, "d": 0, "s": 0, "u": 0, "t": 0, "seen": 0, "guide_steps": 0}
    for guide in (
        Guide(n_steps=1, t_stopgrad=0, scale_by_variance=False),
        Guide(1.0, 1, 0, on="x0", factor="noise_over_signal"),
    ):
        moved = guided(steps, guide)
        assert moved.guide_steps[-1] == 0 and moved.g0[-1] == 0  # nothing moves where no network runs


def test_what_the_network_is_told_of_the_time():
    schedule = Schedule.from_alphas_cumprod(np.linspace(0.9, 0.1, 5), np.linspace(0.0, 1.0, 5))
    steps = step_table("ddpm", schedule, prediction="x0", n_steps=3)
    assert steps.t.tolist() == [4, 2, 0] and steps.seen.tolist() == [1.0, 0.5, 0.0]
    assert step_table("ddpm", cosine(5), prediction="x0", n_steps=3).seen.tolist() == [4.0, 2.0, 0.0]


def test_a_schedule_from_what_is_left():
    one, other = cosine(7), Schedule.from_alphas_cumprod(cosine(7).alphas_cumprod)
    for name in ("betas", "posterior_variance", "posterior_mean_coef1", "posterior_mean_coef2"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-9, atol=1e-12)
    for wrong in ([0.5, 0.6], [1.0, 0.5], [0.5, 0.0], []):
        with pytest.raises(ValueError, match="alphas_cumprod must descend"):
            Schedule.from_alphas_cumprod(np.array(wrong))


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_factors_of_the_guide(power):
    steps = step_table("ddpm", cosine(6), prediction="x0", n_steps=None)
    factor = "exp_half_std" if power == 0.5 else "exp_half_variance"
    moved = guided(steps, Guide(0.2, 2, 2, factor=factor))
    expected = np.where(steps.t >= 2, 0.2 * np.exp(0.5 * steps.variance**power), 0)
    np.testing.assert_allclose(moved.gx, expected)
    assert moved.guide_steps.tolist() == [2, 2, 2, 2, 0, 0]
    on = guided(steps, Guide(0.2, 1, 0, on="x0", factor="noise_over_signal"))
    np.testing.assert_allclose(on.g0, 0.2 * steps.sqrt_one_minus_abar**2 / steps.sqrt_abar)
    assert not on.gx.any() and not on.guide_steps.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Guide(factor="std"), "factor: found 'std', expected None or one of exp_half_std"),
        (lambda: Guide(on="y"), "on: found 'y', expected 'x' or 'x0'"),
        (lambda: Guide(on="x0"), "n_steps: found 2, expected at most 1 where the guide acts on x0"),
        (lambda: Sampling("euler"), "sampler: found 'euler', expected one of ddpm"),
        (lambda: Sampling(direction="up"), "direction: found 'up'"),
        (lambda: Sampling(noise=-1), "noise: found -1, expected a number from 0"),
        (lambda: Sampling(n_steps=0), "n_steps: found 0"),
        (lambda: Sampling(n_steps=9).table(cosine(5), "x0"), "n_steps: found 9, expected a whole number from 1 to 5"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
