"""Samplers that take fewer steps, as their papers print them: loops over a grid, no tables of coefficients.

abar_t is the cumulative product of alphas; in the notation of DPM-Solver alpha_t = sqrt(abar_t),
sigma_t = sqrt(1 - abar_t) and lambda_t = log(alpha_t / sigma_t). Noise is a tape [R+1, B, H, D]
for R denoising steps.

What Diffuser adds is placed as in its own sampler: conditions hold at x_T and after each step; the guide moves
x before the network sees it, its gradient scaled by the posterior variance of that step's transition on the
grid; and where x_0 is clipped, everything after uses the clipped one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .diffusion import Conditions, GaussianDiffusion, apply_conditioning, climb


@dataclass(frozen=True)
class Guidance:
    """A guide with gradients(x, cond, t), and how its gradient is scaled."""

    guide: object
    scale: float = 0.001
    t_stopgrad: int = 0
    n_guide_steps: int = 1
    scale_grad_by_std: bool = True  # by the variance, despite the name


class Trace(NamedTuple):
    """A run of a sampler, in the order of sampling (not sorted)."""

    x: Tensor  # [B, H, D]
    values: Tensor  # [B]; zeros without a guide
    chain: Tensor  # [B, R+1, H, D]


def strided_grid(n_timesteps: int, n_steps: int) -> list[int]:
    """round(linspace(T-1, 0, n)): the training steps a sampler of n denoising steps visits, T-1 first."""
    grid = [int(t) for t in np.round(np.linspace(n_timesteps - 1, 0, n_steps))]
    if len(set(grid)) != n_steps:
        raise ValueError(
            f"{n_steps} denoising steps do not fit {n_timesteps} training steps without visiting one twice"
        )
    return grid


@torch.no_grad()
def ddim(
    diffusion: GaussianDiffusion,
    cond: Conditions,
    tape: Tensor,
    grid: Sequence[int],
    eta: float = 0.0,
    guidance: Guidance | None = None,
) -> Trace:
    """Song, Meng & Ermon 2021, eq. 12 and 16; eta=1 is ancestral sampling (DDPM) on the grid.

    The last step goes to abar = 1, so it ends clean. One tape entry per step, the last one multiplied by zero.
    """
    abar = diffusion.alphas_cumprod.double().tolist()
    x = apply_conditioning(tape[0].clone(), cond, diffusion.action_dim)
    chain = [x.clone()]
    for k, t in enumerate(grid):
        here = abar[t]
        there = abar[grid[k + 1]] if k + 1 < len(grid) else 1.0
        x, values = _guide(diffusion, x, cond, t, _posterior_variance(here, there), guidance)
        x0 = diffusion.predict_start(x, cond, _steps(x, t))
        eps = (x - math.sqrt(here) * x0) / math.sqrt(1.0 - here)
        sigma = eta * math.sqrt((1.0 - there) / (1.0 - here)) * math.sqrt(1.0 - here / there)
        direction = math.sqrt(max(1.0 - there - sigma**2, 0.0))  # rounding may leave it just below zero
        x = math.sqrt(there) * x0 + direction * eps + sigma * tape[k + 1]
        x = apply_conditioning(x, cond, diffusion.action_dim)
        chain.append(x.clone())
    return Trace(x, values, torch.stack(chain, dim=1))


@torch.no_grad()
def dpm_solver_pp_2m(
    diffusion: GaussianDiffusion,
    cond: Conditions,
    tape: Tensor,
    grid: Sequence[int],
    guidance: Guidance | None = None,
) -> Trace:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2, then one clean step. Only tape[0] is used.

    The solver walks from one grid point to the next, so it stops at the last one, where noise is left: the
    last entry of the chain is the network's x_0 there.
    """
    abar = diffusion.alphas_cumprod.double().tolist()
    alpha = [math.sqrt(a) for a in abar]
    sigma = [math.sqrt(1.0 - a) for a in abar]
    lam = [math.log(a / s) for a, s in zip(alpha, sigma, strict=True)]
    x = apply_conditioning(tape[0].clone(), cond, diffusion.action_dim)
    chain = [x.clone()]
    previous_x0 = previous_h = None
    for k, t in enumerate(grid):
        last = k + 1 == len(grid)
        there = 1.0 if last else abar[grid[k + 1]]
        x, values = _guide(diffusion, x, cond, t, _posterior_variance(abar[t], there), guidance)
        x0 = diffusion.predict_start(x, cond, _steps(x, t))
        if last:
            x = x0.clone()  # conditioning writes into it
        else:
            n = grid[k + 1]
            h = lam[n] - lam[t]
            if previous_x0 is None:
                d = x0  # a first-order start
            else:
                r = previous_h / h
                d = (1.0 + 1.0 / (2.0 * r)) * x0 - 1.0 / (2.0 * r) * previous_x0
            x = sigma[n] / sigma[t] * x - alpha[n] * math.expm1(-h) * d
            previous_x0, previous_h = x0, h
        x = apply_conditioning(x, cond, diffusion.action_dim)
        chain.append(x.clone())
    return Trace(x, values, torch.stack(chain, dim=1))


def _posterior_variance(here: float, there: float) -> float:
    """Variance of q(x_there | x_here, x_0) between two points of the grid, given as abar."""
    return (1.0 - there) / (1.0 - here) * (1.0 - here / there)


def _guide(
    diffusion: GaussianDiffusion,
    x: Tensor,
    cond: Conditions,
    t: int,
    variance: float,
    guidance: Guidance | None,
) -> tuple[Tensor, Tensor]:
    """x moved up the value, and the values seen; without guidance x itself and zeros."""
    if guidance is None:
        return x, x.new_zeros(len(x))
    scale = guidance.scale * (variance if guidance.scale_grad_by_std else 1.0)
    return climb(
        guidance.guide,
        x,
        cond,
        _steps(x, t),
        diffusion.action_dim,
        scale,
        guidance.t_stopgrad,
        guidance.n_guide_steps,
    )


def _steps(x: Tensor, t: int) -> Tensor:
    """t for every plan, [B]."""
    return torch.full((len(x),), t, dtype=torch.long, device=x.device)
