"""The diffusion process: noise schedule, buffers, inpainting, one denoising step, and the loop over steps.

Equations are those of Ho et al. 2020 (DDPM) and Nichol & Dhariwal 2021 (cosine schedule). What is particular
to Diffuser (actions first, inpainting, the value's gradient added before the denoiser runs) is from Janner et
al. 2022, algorithm 1, and from the conventions of its published checkpoints.

Noise comes from torch's global generator, first all of x_T, then once per step, also for the last one where
it is multiplied by zero; or from a tape [T+1, B, H, D] whose entry 0 is x_T and whose entry k+1 is step k's.

A trap for whoever wants the same plan from the same seed: what randn_like draws depends on how x lies in
memory. The first x is contiguous as [B, H, D]; from the second step on x inherits the layout of the network's
output, a transposed view of [B, D, H], for which torch draws other numbers (not just in another order).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

Conditions = Mapping[int, Tensor]  # time index -> normalised observation [B, O] or [O]
SampleFn = Callable[..., tuple[Tensor, Tensor]]  # (diffusion, x, cond, t, **kwargs) -> (next x, values [B])


class Sample(NamedTuple):
    """What a plan returns in the main layout."""

    trajectories: Tensor  # [B, H, D], best value first
    values: Tensor  # [B], in the same order
    chains: Tensor | None  # [B, T+1, H, D] from x_T to x_0, in the order of sampling


def cosine_betas(n_timesteps: int, s: float = 0.008) -> np.ndarray:
    """beta_t = min(1 - abar(t+1)/abar(t), 0.999), abar(t) = cos^2(((t/T) + s)/(1 + s) * pi/2). float64 [T].

    Nichol & Dhariwal 2021, eq. 17.
    """
    t = np.linspace(0.0, 1.0, n_timesteps + 1)
    alphas_cumprod = np.cos((t + s) / (1.0 + s) * (math.pi / 2.0)) ** 2
    return np.clip(1.0 - alphas_cumprod[1:] / alphas_cumprod[:-1], 0.0, 0.999)


def apply_conditioning(x: Tensor, cond: Conditions, action_dim: int) -> Tensor:
    """Inpainting: overwrite the observation at each given time, in place; actions stay free. Returns x."""
    for time, observation in cond.items():
        x[:, time, action_dim:] = observation
    return x


class LossWeights(nn.Module):
    """The training loss's weights [H, D]: sampling ignores them, but published state dicts carry them.

    discount^t normalised to mean 1 over time; the first action counts `action_weight` times as much.
    """

    def __init__(self, horizon: int, transition_dim: int, action_dim: int, action_weight: float, discount: float):
        super().__init__()
        in_time = discount ** torch.arange(horizon, dtype=torch.float64)
        weights = (in_time / in_time.mean())[:, None].repeat(1, transition_dim)
        weights[0, :action_dim] = action_weight
        self.register_buffer("weights", weights.to(torch.get_default_dtype()))


class GaussianDiffusion(nn.Module):
    """A denoiser with its noise schedule (main layout): sampling returns a Sample.

    The buffers are float32, cumulative product included, as in published checkpoints; dtype=torch.float64
    gives a schedule exact to float64. The state dict is the 12 buffers, `model.*` and `loss_fn.weights`.
    """

    def __init__(
        self,
        model: nn.Module,
        horizon: int,
        observation_dim: int,
        action_dim: int,
        n_timesteps: int = 1000,
        loss_type: str = "l1",
        clip_denoised: bool = False,
        predict_epsilon: bool = True,
        action_weight: float = 1.0,
        loss_discount: float = 1.0,
        loss_weights: Mapping[int, float] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.horizon = horizon
        self.observation_dim = observation_dim
        self.action_dim = action_dim
        self.transition_dim = observation_dim + action_dim
        self.model = model
        self.n_timesteps = n_timesteps
        self.clip_denoised = clip_denoised
        self.predict_epsilon = predict_epsilon
        self._register_schedule(torch.from_numpy(cosine_betas(n_timesteps)).to(dtype))
        if not loss_type.startswith("value"):  # a value network's loss has no weights
            self.loss_fn = LossWeights(horizon, self.transition_dim, action_dim, action_weight, loss_discount)

    def _register_schedule(self, betas: Tensor) -> None:
        alphas = 1.0 - betas
        cumprod = torch.cumprod(alphas, dim=0)
        previous = torch.cat([torch.ones_like(cumprod[:1]), cumprod[:-1]])
        # Ho et al. 2020, eq. 7: q(x_{t-1} | x_t, x_0) has mean coef1 * x_0 + coef2 * x_t and this variance.
        variance = betas * (1.0 - previous) / (1.0 - cumprod)
        self.register_buffer("betas", betas)
        self.register_buffer("alphas_cumprod", cumprod)
        self.register_buffer("alphas_cumprod_prev", previous)
        self.register_buffer("sqrt_alphas_cumprod", cumprod.sqrt())
        self.register_buffer("sqrt_one_minus_alphas_cumprod", (1.0 - cumprod).sqrt())
        self.register_buffer("log_one_minus_alphas_cumprod", (1.0 - cumprod).log())
        self.register_buffer("sqrt_recip_alphas_cumprod", (1.0 / cumprod).sqrt())
        self.register_buffer("sqrt_recipm1_alphas_cumprod", (1.0 / cumprod - 1.0).sqrt())
        self.register_buffer("posterior_variance", variance)
        # The variance of the last step is 0, whose logarithm does not exist.
        self.register_buffer("posterior_log_variance_clipped", variance.clamp(min=1e-20).log())
        self.register_buffer("posterior_mean_coef1", betas * previous.sqrt() / (1.0 - cumprod))
        self.register_buffer("posterior_mean_coef2", (1.0 - previous) * alphas.sqrt() / (1.0 - cumprod))

    def predict_start_from_noise(self, x: Tensor, t: Tensor, output: Tensor) -> Tensor:
        """x_0 from the network's output: itself, or (x_t - sqrt(1 - abar) eps) / sqrt(abar)."""
        if not self.predict_epsilon:
            return output
        recip, recipm1 = self.sqrt_recip_alphas_cumprod, self.sqrt_recipm1_alphas_cumprod
        return pick(recip, t) * x - pick(recipm1, t) * output

    def predict_start(self, x: Tensor, cond: Conditions, t: Tensor) -> Tensor:
        """The network's estimate of x_0 [B, H, D], clipped to [-1, 1] if `clip_denoised`."""
        x0 = self.predict_start_from_noise(x, t, self.model(x, cond, t))
        return x0.clamp(-1.0, 1.0) if self.clip_denoised else x0

    def q_sample(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = sqrt(abar) x_0 + sqrt(1 - abar) noise (Ho et al. 2020, eq. 4)."""
        return pick(self.sqrt_alphas_cumprod, t) * x0 + pick(self.sqrt_one_minus_alphas_cumprod, t) * noise

    def p_mean_variance(self, x: Tensor, cond: Conditions, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean [B, H, D], variance and log-variance [B, 1, 1] of p(x_{t-1} | x_t)."""
        x0 = self.predict_start(x, cond, t)
        mean = pick(self.posterior_mean_coef1, t) * x0 + pick(self.posterior_mean_coef2, t) * x
        return mean, pick(self.posterior_variance, t), pick(self.posterior_log_variance_clipped, t)

    def p_sample(self, x: Tensor, cond: Conditions, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_{t-1} from x_t (Ho et al. 2020, algorithm 2, line 4)."""
        mean, _, log_variance = self.p_mean_variance(x, cond, t)
        noise = torch.randn_like(x) if noise is None else noise
        noise = torch.where((t > 0)[:, None, None], noise, torch.zeros_like(noise))
        return mean + (0.5 * log_variance).exp() * noise

    @torch.no_grad()
    def p_sample_loop(
        self,
        shape: tuple[int, int, int],
        cond: Conditions,
        verbose: bool = True,
        return_chain: bool = False,
        sample_fn: SampleFn | None = None,
        tape: Tensor | None = None,
        **sample_kwargs: object,
    ) -> Sample:
        """All T steps from noise of `shape` [B, H, D]; conditions hold at x_T and after every step."""
        sample_fn = sample_fn or default_sample_fn
        x = self._first_noise(shape, tape)
        x = apply_conditioning(x, cond, self.action_dim)
        chain = [x.clone()]
        for k, i in enumerate(reversed(range(self.n_timesteps))):
            t = torch.full((shape[0],), i, dtype=torch.long, device=x.device)
            # A step that somebody else wrote need not know of tapes.
            extra = {} if tape is None else {"noise": tape[k + 1]}
            x, values = sample_fn(self, x, cond, t, **sample_kwargs, **extra)
            x = apply_conditioning(x, cond, self.action_dim)
            chain.append(x.clone())
        x, values = sort_by_values(x, values)
        return Sample(x, values, torch.stack(chain, dim=1) if return_chain else None)

    def _first_noise(self, shape: tuple[int, int, int], tape: Tensor | None) -> Tensor:
        if tape is None:
            return torch.randn(shape, dtype=self.betas.dtype, device=self.betas.device)
        if tape.shape != (self.n_timesteps + 1, *shape):
            raise ValueError(f"tape must be {(self.n_timesteps + 1, *shape)}, not {tuple(tape.shape)}")
        return tape[0].clone()  # conditioning writes into it

    def conditional_sample(self, cond: Conditions, horizon: int | None = None, **sample_kwargs: object) -> Sample:
        """Plans under `cond`, whose values [B, O] fix the batch; `horizon` may differ from training's."""
        batch = len(next(iter(cond.values())))
        shape = (batch, horizon or self.horizon, self.transition_dim)
        return self.p_sample_loop(shape, cond, **sample_kwargs)

    def forward(self, cond: Conditions, *args: object, **kwargs: object) -> Sample:
        return self.conditional_sample(cond, *args, **kwargs)


class ValueDiffusion(GaussianDiffusion):
    """A value network with the same schedule; called as (x, cond, t) it is that network, [B, 1]."""

    def forward(self, x: Tensor, cond: Conditions, t: Tensor) -> Tensor:
        return self.model(x, cond, t)


class Maze2dGaussianDiffusion(GaussianDiffusion):
    """The maze2d layout's sampler: no guide, no values, no sorting; returns the trajectories themselves.

    Neither x_T nor a step's noise is scaled down: of the four combinations of 1 and 1/2, only (1, 1)
    reproduces this layout's recorded trace.
    """

    @torch.no_grad()
    def p_sample_loop(
        self,
        shape: tuple[int, int, int],
        cond: Conditions,
        verbose: bool = True,
        return_diffusion: bool = False,
        tape: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """[B, H, D], with return_diffusion also the chain [B, T+1, H, D]."""
        x = apply_conditioning(self._first_noise(shape, tape), cond, self.action_dim)
        chain = [x.clone()]
        for k, i in enumerate(reversed(range(self.n_timesteps))):
            t = torch.full((shape[0],), i, dtype=torch.long, device=x.device)
            x = self.p_sample(x, cond, t, None if tape is None else tape[k + 1])
            x = apply_conditioning(x, cond, self.action_dim)
            chain.append(x.clone())
        return (x, torch.stack(chain, dim=1)) if return_diffusion else x

    def conditional_sample(
        self, cond: Conditions, *args: object, horizon: int | None = None, **kwargs: object
    ) -> Tensor | tuple[Tensor, Tensor]:
        """As the branch has it: what is positional is the loop's."""
        shape = (len(next(iter(cond.values()))), horizon or self.horizon, self.transition_dim)
        return self.p_sample_loop(shape, cond, *args, **kwargs)


def default_sample_fn(
    model: GaussianDiffusion, x: Tensor, cond: Conditions, t: Tensor, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One unguided step; nothing has been judged, so every value is 0."""
    return model.p_sample(x, cond, t, noise), x.new_zeros(len(x))


@torch.no_grad()
def n_step_guided_p_sample(
    model: GaussianDiffusion,
    x: Tensor,
    cond: Conditions,
    t: Tensor,
    guide: object,
    scale: float = 0.001,
    t_stopgrad: int = 0,
    n_guide_steps: int = 1,
    scale_grad_by_std: bool = True,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One guided step (Janner et al. 2022, algorithm 1, as released): climb the value, denoise from there.

    `scale_grad_by_std` scales by the posterior VARIANCE: the name is older than the code.
    """
    variance = pick(model.posterior_variance, t) if scale_grad_by_std else 1.0
    x, values = climb(guide, x, cond, t, model.action_dim, scale * variance, t_stopgrad, n_guide_steps)
    return model.p_sample(x, cond, t, noise), values


def climb(
    guide: object,
    x: Tensor,
    cond: Conditions,
    t: Tensor,
    action_dim: int,
    scale: Tensor | float,
    t_stopgrad: int,
    n_guide_steps: int,
) -> tuple[Tensor, Tensor]:
    """Move x_t itself up the value's gradient, n times, restoring the conditions each time. -> x, values [B].

    guide.gradients(x, cond, t) -> values [B], d sum(values)/dx [B, H, D]. Gradients are dropped where
    t < t_stopgrad. The values are those of the last look, before the last move: after the last denoising step
    they lag the trajectory, and plans are sorted by them all the same.

    With n_guide_steps=0 x stays and the values are its own. (Nothing published defines that case; here it
    means "sample freely, then rank".)
    """
    for _ in range(n_guide_steps):
        values, grad = guide.gradients(x, cond, t)
        grad = torch.where((t < t_stopgrad)[:, None, None], torch.zeros_like(grad), grad)
        x = apply_conditioning(x + scale * grad, cond, action_dim)
    if n_guide_steps == 0:
        values, _ = guide.gradients(x, cond, t)
    return x, values


def sort_by_values(x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Best first. torch.argsort is not stable by default, so equal values may come out in any order."""
    order = torch.argsort(values, descending=True)
    return x[order], values[order]


def pick(buffer: Tensor, t: Tensor) -> Tensor:
    """buffer [T], t [B] -> [B, 1, 1]."""
    return buffer[t][:, None, None]
