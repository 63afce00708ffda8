"""The oracle's steps and samplers against one another, known solutions and their orders of convergence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from oracle.diffusion import GaussianDiffusion, ValueDiffusion, apply_conditioning, n_step_guided_p_sample
from oracle.draws import normal, randomize
from oracle.networks import TemporalUnet, ValueFunction
from oracle.policies import ValueGuide
from oracle.samplers import Guidance, ddim, dpm_solver_pp_2m, strided_grid


def small_diffusion(predict_epsilon: bool, clip_denoised: bool) -> tuple[GaussianDiffusion, ValueGuide]:
    """H=8, A=2, O=4, T=20, with a schedule exact to float64."""
    kwargs = {"horizon": 8, "observation_dim": 4, "action_dim": 2, "n_timesteps": 20, "dtype": torch.float64}
    unet = randomize(TemporalUnet(8, 6, 4, dim=16, dim_mults=(1, 2)), seed=5)
    value = randomize(ValueFunction(8, 6, 4, dim=16, dim_mults=(1, 2)), seed=6)
    diffusion = GaussianDiffusion(unet, predict_epsilon=predict_epsilon, clip_denoised=clip_denoised, **kwargs)
    return diffusion, ValueGuide(ValueDiffusion(value, loss_type="value_l2", **kwargs))


@pytest.mark.parametrize("guided", [False, True], ids=["unguided", "guided"])
@pytest.mark.parametrize("clip_denoised", [False, True], ids=["free", "clipped"])
@pytest.mark.parametrize("predict_epsilon", [False, True], ids=["x0", "epsilon"])
def test_ddim_with_all_noise_and_all_steps_is_ddpm(predict_epsilon, clip_denoised, guided):
    diffusion, guide = small_diffusion(predict_epsilon, clip_denoised)
    cond = {0: normal(7, 3, 4), -1: normal(8, 3, 4)}
    tape = normal(9, 21, 3, 8, 6)
    how = {"scale": 0.5, "t_stopgrad": 3, "n_guide_steps": 2}
    kwargs = {"sample_fn": n_step_guided_p_sample, "guide": guide, **how} if guided else {}
    ddpm = diffusion(cond, tape=tape, return_chain=True, **kwargs)
    trace = ddim(diffusion, cond, tape, strided_grid(20, 20), 1.0, Guidance(guide, **how) if guided else None)
    # Rounding is relative to what was there: an epsilon network's first x_0 are hundreds of times x.
    size = ddpm.chains.abs().max()
    print("off by", float((trace.chain - ddpm.chains).abs().max() / size), "of", float(size))
    torch.testing.assert_close(trace.chain / size, ddpm.chains / size, rtol=0, atol=1e-11)
    torch.testing.assert_close(trace.values.sort(descending=True).values, ddpm.values)


def test_a_grid_is_rounded_and_visits_nothing_twice():
    assert strided_grid(20, 20) == list(range(19, -1, -1))
    assert strided_grid(20, 5) == [19, 14, 10, 5, 0]  # 14.25, 9.5 (to even), 4.75
    assert strided_grid(20, 1) == [19]
    with pytest.raises(ValueError, match="21 denoising steps"):
        strided_grid(20, 21)


class GaussianData(torch.nn.Module):
    """The ideal denoiser when every number of the data is N(mean, std^2), for which the flow is known."""

    def __init__(self, abar: Tensor, mean: float, std: float) -> None:
        super().__init__()
        self.abar, self.mean, self.std = abar, mean, std

    def forward(self, x: Tensor, cond: object, t: Tensor) -> Tensor:
        abar = self.abar[t][:, None, None]
        gain = self.std**2 * abar.sqrt() / self.spread(abar) ** 2
        return self.mean + gain * (x - abar.sqrt() * self.mean)

    def spread(self, abar: Tensor) -> Tensor:
        """Standard deviation of x_t."""
        return (self.std**2 * abar + 1.0 - abar).sqrt()

    def flow(self, x: Tensor, start: int, end: int) -> Tensor:
        """Where the probability-flow ODE takes x from step `start` to `end`: quantiles are kept."""
        a, b = self.abar[start], self.abar[end]
        return b.sqrt() * self.mean + self.spread(b) / self.spread(a) * (x - a.sqrt() * self.mean)


def test_solvers_converge_at_their_order():
    """On a grid uniform in lambda: halving the step halves DDIM's error and quarters DPM-Solver++(2M)'s."""
    steps = 961
    abar = torch.sigmoid(2.0 * torch.linspace(3.0, -3.0, steps, dtype=torch.float64))  # lambda from 3 to -3
    data = GaussianData(abar, mean=0.4, std=0.3)
    diffusion = GaussianDiffusion(data, 4, 2, 1, steps, predict_epsilon=False, dtype=torch.float64)
    diffusion.alphas_cumprod.copy_(abar)
    tape = torch.zeros(steps + 1, 2, 4, 3, dtype=torch.float64)
    tape[0] = normal(10, 2, 4, 3)
    want = data.flow(tape[0], steps - 1, 0)
    for solver, order in ((ddim, 1), (dpm_solver_pp_2m, 2)):
        # The last step leaves the grid for abar = 1; the order is that of the steps before it.
        errors = [
            float((solver(diffusion, {}, tape, strided_grid(steps, n + 1)).chain[:, -2] - want).abs().max())
            for n in (60, 120, 240)
        ]
        print(solver.__name__, errors)
        rates = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
        np.testing.assert_allclose(rates, order, atol=0.15)


def test_dpm_solver_extrapolates_half_a_step_in_lambda():
    """On an uneven grid: the second update uses the line through both x_0 estimates, half a step ahead."""
    diffusion, _ = small_diffusion(predict_epsilon=True, clip_denoised=False)
    grid = [17, 12, 2]
    trace = dpm_solver_pp_2m(diffusion, {}, normal(18, 4, 3, 8, 6), grid)
    abar = diffusion.alphas_cumprod[grid]
    lam = 0.5 * (abar / (1.0 - abar)).log()
    x0 = [diffusion.predict_start(trace.chain[:, k], {}, torch.full((3,), grid[k])) for k in range(2)]
    slope = (x0[1] - x0[0]) / (lam[1] - lam[0])
    h = lam[2] - lam[1]
    ahead = x0[1] + slope * h / 2.0
    shrink = ((1.0 - abar[2]) / (1.0 - abar[1])).sqrt()
    want = shrink * trace.chain[:, 1] + abar[2].sqrt() * (1.0 - (-h).exp()) * ahead
    torch.testing.assert_close(trace.chain[:, 2], want)


def test_dpm_solver_ends_with_the_networks_own_clean_plan():
    diffusion, guide = small_diffusion(predict_epsilon=False, clip_denoised=True)
    cond = {0: normal(11, 3, 4)}
    trace = dpm_solver_pp_2m(diffusion, cond, normal(12, 6, 3, 8, 6), strided_grid(20, 5), Guidance(guide, 0.5))
    assert trace.chain.shape == (3, 6, 8, 6)
    before, t = trace.chain[:, -2], torch.zeros(3, dtype=torch.long)
    want = apply_conditioning(diffusion.predict_start(before, cond, t), cond, 2)
    torch.testing.assert_close(trace.x, want)  # the guide's scale, a variance, is 0 in that step
    torch.testing.assert_close(trace.values, guide(before, cond, t))


def test_a_guided_step_moves_its_input_before_denoising():
    """Two guide steps written out, for plans at t = 3, 7 and 19; t_stopgrad = 7 stops only the first."""
    diffusion, guide = small_diffusion(predict_epsilon=False, clip_denoised=False)
    cond, noise = {0: normal(15, 3, 4)}, normal(16, 3, 8, 6)
    t, x = torch.tensor([3, 7, 19]), apply_conditioning(normal(17, 3, 8, 6), cond, 2)
    factor = 0.5 * diffusion.posterior_variance[t] * torch.tensor([0.0, 1.0, 1.0])
    moved = x
    for _ in range(2):
        values, grad = guide.gradients(moved, cond, t)
        moved = apply_conditioning(moved + factor[:, None, None] * grad, cond, 2)
    got, seen = n_step_guided_p_sample(
        diffusion, x, cond, t, guide, scale=0.5, t_stopgrad=7, n_guide_steps=2, noise=noise
    )
    torch.testing.assert_close(got, diffusion.p_sample(moved, cond, t, noise))
    torch.testing.assert_close(seen, values)
    unguided = diffusion.p_sample(x, cond, t, noise)
    assert torch.equal(got[0], unguided[0])
    assert (got[1:] - unguided[1:]).abs().amax(dim=(1, 2)).min() > 1e-3
    assert not torch.equal(seen[1:], guide(moved, cond, t)[1:])  # the last move is not looked at


def test_without_guide_steps_plans_are_ranked_by_the_value_of_the_last_input():
    diffusion, guide = small_diffusion(predict_epsilon=False, clip_denoised=False)
    cond, tape = {0: normal(13, 3, 4)}, normal(14, 21, 3, 8, 6)
    free = diffusion(cond, tape=tape, return_chain=True)
    ranked = diffusion(cond, tape=tape, sample_fn=n_step_guided_p_sample, guide=guide, n_guide_steps=0)
    values = guide(free.chains[:, -2], cond, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(ranked.values, values.sort(descending=True).values)
    torch.testing.assert_close(ranked.trajectories, free.chains[:, -1][values.argsort(descending=True)])
