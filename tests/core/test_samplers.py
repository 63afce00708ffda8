"""StepTables against each sampler written out as its paper prints it."""

from itertools import pairwise

import numpy as np
import pytest

from diffuser_fast.core.samplers import (
    COLUMNS,
    SAMPLERS,
    StepTable,
    ddim,
    ddpm,
    dpm_solver_pp_2m,
    step_grid,
    step_table,
)
from diffuser_fast.core.schedule import cosine

T = 20
SCHEDULE = cosine(T)
ABAR = np.cumprod(1 - SCHEDULE.betas)
STEPS = [None, 1, 2, 5, 7, 19]


def network(x, t):
    """Some nonlinear function of x and t that mixes dimensions."""
    w = np.random.default_rng(5).normal(size=(x.shape[-1], x.shape[-1])) / 3
    return np.tanh(x @ w + 0.1 * t)


def run(table, x, noise, clip=None):
    """The update law, one denoising step after another."""
    previous_x0 = np.zeros_like(x)
    for k in range(table.rows):
        x0 = table.p[k] * x + table.q[k] * network(x, table.t[k])
        x0 = x0 if clip is None else np.clip(x0, -clip, clip)
        x = table.a[k] * x0 + table.b[k] * x + table.d[k] * previous_x0 + table.s[k] * noise[k]
        previous_x0 = x0
    return x


def predict(x, t, prediction, clip=None):
    """(x0, epsilon) as the network, of either kind, gives them."""
    out = network(x, t)
    x0 = out if prediction == "x0" else (x - np.sqrt(1 - ABAR[t]) * out) / np.sqrt(ABAR[t])
    x0 = x0 if clip is None else np.clip(x0, -clip, clip)
    return x0, (x - np.sqrt(ABAR[t]) * x0) / np.sqrt(1 - ABAR[t])


def start():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 8, 5)), rng.normal(size=(T, 3, 8, 5))


def agree(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * max(1, np.abs(expected).max()))


def ddpm_direct(x, noise, grid, prediction, clip):
    """Ho et al. 2020, algorithm 2, with the posterior of equation 7 over the steps of the grid."""
    for k, t in enumerate(grid):
        after = ABAR[grid[k + 1]] if k + 1 < len(grid) else 1.0
        alpha = ABAR[t] / after
        x0, _ = predict(x, t, prediction, clip)
        mean = np.sqrt(after) * (1 - alpha) / (1 - ABAR[t]) * x0 + np.sqrt(alpha) * (1 - after) / (1 - ABAR[t]) * x
        sigma = np.sqrt((1 - after) / (1 - ABAR[t]) * (1 - alpha))
        x = mean + (sigma * noise[k] if k + 1 < len(grid) else 0)
    return x


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
@pytest.mark.parametrize("n_steps", STEPS)
def test_ddpm(n_steps, prediction, clip):
    x, noise = start()
    table = ddpm(SCHEDULE, prediction=prediction, n_steps=n_steps)
    agree(run(table, x, noise, clip), ddpm_direct(x, noise, step_grid(T, n_steps), prediction, clip))


def test_ddpm_over_all_steps_is_the_schedules_own_posterior():
    table = ddpm(SCHEDULE)
    np.testing.assert_array_equal(table.t, np.arange(T)[::-1])
    np.testing.assert_array_equal(table.a, SCHEDULE.posterior_mean_coef1[::-1])
    np.testing.assert_array_equal(table.b, SCHEDULE.posterior_mean_coef2[::-1])
    np.testing.assert_array_equal(table.variance, SCHEDULE.posterior_variance[::-1])
    np.testing.assert_array_equal(table.s[:-1], np.exp(0.5 * SCHEDULE.posterior_log_variance_clipped[:0:-1]))
    assert table.s[-1] == 0 and not table.d.any() and not table.gx.any() and not table.g0.any()


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
@pytest.mark.parametrize("n_steps", STEPS)
def test_ddim(n_steps, prediction, eta):
    """Song et al. 2021, equation 12, sigma of equation 16."""
    x, noise = start()
    table = ddim(SCHEDULE, prediction=prediction, n_steps=n_steps, eta=eta)
    found, grid = run(table, x, noise), step_grid(T, n_steps)
    for k, t in enumerate(grid):
        after = ABAR[grid[k + 1]] if k + 1 < len(grid) else 1.0
        sigma = eta * np.sqrt((1 - after) / (1 - ABAR[t])) * np.sqrt(1 - ABAR[t] / after)
        x0, epsilon = predict(x, t, prediction)
        x = np.sqrt(after) * x0 + np.sqrt(max(1 - after - sigma**2, 0)) * epsilon + sigma * noise[k]
    agree(found, x)


@pytest.mark.parametrize("n_steps", [1, 2, 5, 7, None])
def test_ddim_with_all_the_noise_is_ddpm(n_steps):
    full, ancestral = ddim(SCHEDULE, n_steps=n_steps, eta=1.0), ddpm(SCHEDULE, n_steps=n_steps)
    for column in COLUMNS:
        np.testing.assert_allclose(getattr(full, column), getattr(ancestral, column), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
@pytest.mark.parametrize("n_steps", STEPS)
def test_dpm_solver_pp_2m(n_steps, prediction):
    """Lu et al. 2022, algorithm 2; where it ends, at t = 0, the network's x0 is the answer."""
    x, noise = start()
    table = dpm_solver_pp_2m(SCHEDULE, prediction=prediction, n_steps=n_steps)
    found, grid = run(table, x, noise), step_grid(T, n_steps)
    lam = np.log(np.sqrt(ABAR) / np.sqrt(1 - ABAR))
    buffer = h_before = None
    for t, s in pairwise(grid):
        x0, _ = predict(x, t, prediction)
        h = lam[s] - lam[t]
        r = None if h_before is None else h_before / h
        d = x0 if r is None else (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * buffer
        x = np.sqrt((1 - ABAR[s]) / (1 - ABAR[t])) * x - np.sqrt(ABAR[s]) * (np.exp(-h) - 1) * d
        buffer, h_before = x0, h
    agree(found, predict(x, grid[-1], prediction)[0])
    assert (table.a[-1], table.b[-1], table.d[-1]) == (1, 0, 0) and not table.s.any()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("n_steps", STEPS)
def test_a_perfect_network_is_reproduced(sampler, n_steps):
    """If the network always gives the clean x0, so does every sampler, whatever the noise."""
    table = step_table(sampler, SCHEDULE, prediction="x0", n_steps=n_steps)
    x, previous_x0, clean = 3.0, 0.0, 0.25
    for k in range(table.rows):
        x = table.a[k] * clean + table.b[k] * x + table.d[k] * previous_x0 + table.s[k] * 1.7
        previous_x0 = clean
    assert x == pytest.approx(clean)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_columns_for_warm_starts_and_guides(sampler):
    table = step_table(sampler, SCHEDULE, prediction="x0", n_steps=6)
    np.testing.assert_allclose(table.sqrt_abar, np.sqrt(ABAR[table.t]))
    np.testing.assert_allclose(table.sqrt_abar**2 + table.sqrt_one_minus_abar**2, 1)
    after = np.append(ABAR[table.t[1:]], 1.0)
    respaced = (1 - after) / (1 - ABAR[table.t]) * (1 - ABAR[table.t] / after)
    np.testing.assert_allclose(table.variance, respaced, atol=1e-15)


@pytest.mark.parametrize(
    ("n_train", "n", "grid"),
    [
        (20, 1, [19]),
        (20, 2, [19, 0]),
        (20, 5, [19, 14, 10, 5, 0]),
        (20, None, list(range(19, -1, -1))),
        (1, 1, [0]),
        (64, 3, [63, 32, 0]),
    ],
)
def test_grids(n_train, n, grid):
    assert step_grid(n_train, n).tolist() == grid


def test_grids_never_repeat_a_step():
    for n in range(1, 65):
        grid = step_grid(64, n)
        assert len(grid) == n and (np.diff(grid) < 0).all()


@pytest.mark.parametrize("n", [0, -1, 21, 2.5, True, "5"])
def test_grids_refuse(n):
    with pytest.raises(ValueError, match=r"n_steps: found .*, expected a whole number from 1 to 20"):
        step_grid(20, n)


def test_names_and_options_that_do_not_exist():
    with pytest.raises(ValueError, match="sampler: found 'euler', expected one of ddpm, ddim, dpm_solver_pp_2m"):
        step_table("euler", SCHEDULE, prediction="x0", n_steps=None)
    with pytest.raises(ValueError, match="sampler: ddpm takes no eta"):
        step_table("ddpm", SCHEDULE, prediction="x0", n_steps=None, eta=0.5)
    with pytest.raises(ValueError, match="eta: found 2"):
        ddim(SCHEDULE, eta=2)
    with pytest.raises(ValueError, match="prediction: found 'v', expected 'x0' or 'epsilon'"):
        ddpm(SCHEDULE, prediction="v")


def test_a_table_is_frozen_and_fills_its_columns():
    table = StepTable(t=[3, 1], **dict.fromkeys(COLUMNS[:9], 0.5))
    assert table.rows == 2 and table.a.tolist() == [0.5, 0.5] and table.guide_steps.tolist() == [0, 0]
    with pytest.raises(ValueError):
        table.a[0] = 1
