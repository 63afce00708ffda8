"""The training losses (Ho et al. 2020, equation 14; Janner et al. 2022, section 3.1 and appendix C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .recipe import CONDITIONS, Recipe


def loss_weights(recipe: Recipe, transition_dim: int, action_dim: int) -> Tensor:
    """``[H, D]``: discount^t scaled to mean 1, and ``action_weight`` on the first action."""
    discounts = recipe.loss_discount ** torch.arange(recipe.horizon, dtype=torch.float32)
    weights = (discounts / discounts.mean())[:, None].repeat(1, transition_dim)
    weights[0, :action_dim] = recipe.action_weight
    return weights


def noised(x0: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """A sample of q(x_t | x_0): sqrt(abar) x0 + sqrt(1 - abar) noise. x0, noise: ``[B, H, D]``; t: ``[B]``."""
    abar = alphas_cumprod[t][:, None, None]
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def with_conditions(x: Tensor, x0: Tensor, action_dim: int, conditions: str, given: int = 0) -> Tensor:
    """x with the observations at the conditions' times, and their last ``given`` numbers at every time, from x0."""
    x = x.clone()
    for time in CONDITIONS[conditions]:
        x[:, time, action_dim:] = x0[:, time, action_dim:]
    if given:
        x[:, :, -given:] = x0[:, :, -given:]
    return x


def planner_loss(
    net: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, *, recipe: Recipe, action_dim: int,
    alphas_cumprod: Tensor, weights: Tensor,
) -> Tensor:  # fmt: skip
    """Weighted squared error of the prediction; what is given is clamped in the input and in the prediction."""
    x = with_conditions(noised(x0, t, noise, alphas_cumprod), x0, action_dim, recipe.conditions, recipe.given)
    target = x0 if recipe.prediction == "x0" else noise
    # The original clamps the prediction to the given observations, for epsilon prediction too.
    prediction = with_conditions(net(x, t).float(), x0, action_dim, recipe.conditions, recipe.given)
    return ((prediction - target) ** 2 * weights).mean()


def value_loss(
    net: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, returns: Tensor, *, recipe: Recipe, action_dim: int,
    alphas_cumprod: Tensor,
) -> Tensor:  # fmt: skip
    """Squared error of the value of a noised trajectory against the return of the clean one."""
    x = with_conditions(noised(x0, t, noise, alphas_cumprod), x0, action_dim, recipe.conditions, recipe.given)
    return ((net(x, t).float() - returns) ** 2).mean()
