"""How the original's relatives sample: loops as their libraries run them, in the arithmetic of their results' dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Net = Callable[[Tensor, Tensor], Tensor]


def betas(kind: str, n: int, first: float = 1e-4, last: float = 0.02) -> Tensor:
    if kind == "linear":
        return torch.linspace(first, last, n, dtype=torch.float32)
    f = [math.cos((i / n + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(n + 1)]
    return torch.tensor([min(1 - b / a, 0.999) for a, b in pairwise(f)], dtype=torch.float32)


def buffers(n: int) -> dict[str, Tensor]:
    """Of the original's GaussianDiffusion with n steps, those that sampling reads; float64."""
    abar = torch.cumprod(1 - betas("squaredcos_cap_v2", n).double(), 0)
    before = torch.cat((torch.ones(1), abar[:-1]))
    b = 1 - abar / before
    variance = b * (1 - before) / (1 - abar)
    return {
        "betas": b, "alphas_cumprod": abar, "sqrt_recip_alphas_cumprod": abar**-0.5,
        "sqrt_recipm1_alphas_cumprod": (1 / abar - 1).sqrt(), "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": b * before.sqrt() / (1 - abar),
        "posterior_mean_coef2": (1 - before) * (1 - b).sqrt() / (1 - abar),
    }  # fmt: skip


@dataclass(frozen=True)
class Scheduler:
    """Of Hugging Face diffusers, as its configuration has it. n_steps: of the "leading" grid."""

    n_train: int
    beta_schedule: str = "squaredcos_cap_v2"
    variance_type: str = "fixed_small"
    prediction_type: str = "epsilon"
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    n_steps: int | None = None
    ddim: bool = False

    @property
    def times(self) -> list[int]:
        n = self.n_steps or self.n_train
        return [k * (self.n_train // n) for k in reversed(range(n))]

    def abar(self, t: int) -> Tensor:
        return (
            torch.cumprod(1 - betas(self.beta_schedule, self.n_train), 0)[t].double() if t >= 0 else torch.tensor(1.0)
        )

    def variance(self, t: int) -> Tensor:
        """``_get_variance``: a standard deviation where it is said to be a logarithm."""
        a, before = self.abar(t), self.abar(t - self.n_train // len(self.times))
        v = ((1 - before) / (1 - a) * (1 - a / before)).clamp(min=1e-20)
        return v.sqrt() if self.variance_type == "fixed_small_log" else v

    def step(self, x: Tensor, out: Tensor, t: int, noise: Tensor | None) -> Tensor:
        a, before = self.abar(t), self.abar(t - self.n_train // len(self.times))
        x0 = (x - (1 - a).sqrt() * out) / a.sqrt() if self.prediction_type == "epsilon" else out
        e = (x - a.sqrt() * x0) / (1 - a).sqrt()  # of the unclipped x0
        if self.clip_sample:
            x0 = x0.clamp(-self.clip_sample_range, self.clip_sample_range)
        if self.ddim:
            return before.sqrt() * x0 + (1 - before).sqrt() * e
        alpha = a / before
        x = before.sqrt() * (1 - alpha) / (1 - a) * x0 + alpha.sqrt() * (1 - before) / (1 - a) * x
        if t == 0:
            return x
        v = self.variance(t)
        return x + (v if self.variance_type == "fixed_small_log" else v.sqrt()) * noise


def gradient(value: Net, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = value(x, t)
        return y.detach(), torch.autograd.grad(y.sum(), x)[0]


def value_guided(
    net: Net, value: Net, s: Scheduler, tape: Tensor, known: Callable[[Tensor], Tensor], scale: float, n_guide: int
) -> tuple[Tensor, Tensor]:
    """ValueGuidedRLPipeline.run_diffusion: x += scale exp(0.5 _get_variance) gradient, none below t = 2."""
    x, y = known(tape[0]), tape.new_zeros(tape.shape[1])
    for k, i in enumerate(s.times):
        t = torch.full((len(x),), i)
        for _ in range(n_guide):
            y, g = gradient(value, x, t)
            x = known(x + (scale * torch.exp(0.5 * s.variance(i)) * g if i >= 2 else 0))
        x = known(s.step(x, net(x, t), i, tape[k + 1] if i else None))
    return x, y


def conditional(net: Net, s: Scheduler, tape: Tensor, known: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """DiffusionUnetLowdimPolicy.conditional_sample, and lerobot's: known values before each network, and at the end."""
    x = tape[0]
    for k, i in enumerate(s.times):
        x = known(x)
        x = s.step(x, net(x, torch.full((len(x),), i)), i, tape[k + 1] if i and not s.ddim else None)
    return known(x)


@dataclass(frozen=True)
class Process:
    """A DiscreteDiffusionSDE of CleanDiffuser, or a continuous one, and the arguments of its ``sample``."""

    n_train: int
    n_steps: int
    predict_noise: bool = False
    solver: str = "ddpm"
    scale: float = 0.0
    temperature: float = 1.0
    clip: float | None = None
    continuous: bool = False


def clean(
    net: Net, value: Net | None, p: Process, tape: Tensor, known: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """``sample`` and ``log_p``, which is the classifier's at t = 0 of what sampling ends with, before the last clip."""
    n = p.n_steps
    times = torch.linspace(1e-3, 0.9946, n + 1) if p.continuous else torch.linspace(1e-3, 1.0, p.n_train)
    alpha = (math.pi / 2 * (times.clip(0, 0.9946) + 0.008) / 1.008).cos() / math.cos(math.pi / 2 * 0.008 / 1.008)
    index = torch.arange(n + 1) if p.continuous else torch.linspace(0, p.n_train - 1, n + 1).long()
    alpha = alpha.double()[index]
    sigma = (1 - alpha**2).sqrt()
    std = torch.cat((torch.zeros(1), sigma[:-1] / sigma[1:] * (1 - (alpha[1:] / alpha[:-1]) ** 2).sqrt()))
    h = torch.cat((torch.zeros(1), (alpha / sigma).log()[:-1] - (alpha / sigma).log()[1:]))
    x, before = known(p.temperature * tape[0]), None
    for k, i in enumerate(reversed(range(1, n + 1))):
        t = torch.full((len(x),), times[i].item()) if p.continuous else index[i].repeat(len(x))
        out = net(x, t)
        if value is not None and p.scale:
            g = gradient(value, x, t)[1]
            out = out - p.scale * sigma[i] * g if p.predict_noise else out + p.scale * sigma[i] ** 2 / alpha[i] * g
        x0 = (x - sigma[i] * out) / alpha[i] if p.predict_noise else out
        x0 = x0 if p.clip is None else x0.clamp(-p.clip, p.clip)
        e = (x - alpha[i] * x0) / sigma[i]
        if p.solver == "ddpm":
            left = (sigma[i - 1] ** 2 - std[i] ** 2 + 1e-8).sqrt()
            x = alpha[i - 1] / alpha[i] * (x - sigma[i] * e) + left * e + (std[i] * tape[k + 1] if i > 1 else 0)
        elif p.solver == "ddim":
            x = alpha[i - 1] * x0 + sigma[i - 1] * e
        else:  # ode_dpmsolver++_2M
            mixed = x0
            if before is not None:
                r = h[i + 1] / h[i]
                mixed = (1 + 0.5 / r) * x0 - 0.5 / r * before
            x, before = sigma[i - 1] / sigma[i] * x - alpha[i - 1] * torch.expm1(-h[i]) * mixed, x0
        x = known(x)
    y = x.new_zeros(len(x)) if value is None else value(x, torch.zeros(len(x), dtype=torch.long))
    return (x if p.clip is None else x.clamp(-p.clip, p.clip)), y


def kuka(net: Net, n_train: int, tape: Tensor, known: Callable[[Tensor], Tensor]) -> Tensor:
    """The original's kuka branch: noise predicted, x0 clipped to 1."""
    s = Scheduler(n_train)
    x = known(tape[0])
    for k, i in enumerate(s.times):
        x = known(s.step(x, net(x, torch.full((len(x),), i)), i, tape[k + 1]))
    return x


def decision(
    net: Callable[[Tensor, Tensor, Tensor | None], Tensor], n_train: int, returns: Tensor, w: float, tape: Tensor,
    known: Callable[[Tensor], Tensor],
) -> Tensor:  # fmt: skip
    """Decision Diffuser: two passes, u + w (c - u); noise predicted, x0 clipped, all noise halved."""
    s = Scheduler(n_train)
    x = known(0.5 * tape[0])
    for k, i in enumerate(s.times):
        t = torch.full((len(x),), i)
        u = net(x, t, None)
        x = known(s.step(x, u + w * (net(x, t, returns) - u), i, 0.5 * tape[k + 1] if i else None))
    return x
