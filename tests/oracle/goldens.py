"""The recorded traces in tests/golden, and the oracle set up to reproduce them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .checkpoint import load_diffusion, load_normalizer
from .diffusion import GaussianDiffusion, Maze2dGaussianDiffusion, n_step_guided_p_sample
from .normalizers import DatasetNormalizer
from .policies import GuidedPolicy, Policy, ValueGuide, format_conditions, split

FOLDER = Path(__file__).resolve().parent.parent / "golden"
NAMES = ("hopper_guided", "maze2d_branch", "maze_inpaint")

# How each trace was sampled; its folder does not say.
GUIDANCE = {"hopper_guided": {"scale": 0.1, "n_guide_steps": 2, "t_stopgrad": 2, "scale_grad_by_std": True}}


@dataclass(frozen=True)
class Golden:
    """One trace. Noise is normalised, all else in physical units; plans best first. float32."""

    name: str
    tape: np.ndarray  # [T+1, B, H, D]
    conditions: dict[int, np.ndarray]  # time -> [O]
    action: np.ndarray  # [A]
    actions: np.ndarray  # [B, H, A]
    observations: np.ndarray  # [B, H, O]
    values: np.ndarray  # [B]; zeros without a guide

    @property
    def batch_size(self) -> int:
        return self.tape.shape[1]


def load_golden(name: str) -> Golden:
    """The trace called `name`."""
    with np.load(FOLDER / name / "golden.npz") as file:
        arrays = dict(file)
    keys, values = arrays.pop("cond_keys"), arrays.pop("cond_vals")
    return Golden(name, conditions={int(t): obs for t, obs in zip(keys, values, strict=True)}, **arrays)


def load_policy(name: str, dtype: torch.dtype = torch.float32) -> GuidedPolicy | Policy:
    """The policy whose trace is called `name`, of the look-alike class of its layout, in `dtype`."""
    diffusion = load_diffusion(FOLDER / name, dtype)
    normalizer = load_normalizer(FOLDER / name, np.float64 if dtype == torch.float64 else np.float32)
    if isinstance(diffusion, Maze2dGaussianDiffusion):
        return Policy(diffusion, normalizer)
    if name not in GUIDANCE:
        return GuidedPolicy(None, diffusion, normalizer)
    guide = ValueGuide(load_diffusion(FOLDER / name / "values", dtype))
    return GuidedPolicy(guide, diffusion, normalizer, sample_fn=n_step_guided_p_sample, **GUIDANCE[name])


@dataclass(frozen=True)
class Replay:
    """What the oracle makes of a trace's noise and conditions: a Golden's results, in the oracle's dtype."""

    action: np.ndarray
    actions: np.ndarray
    observations: np.ndarray
    values: np.ndarray
    chain: np.ndarray  # [B, T+1, H, D], normalised, in the order of sampling


def replay(golden: Golden, policy: GuidedPolicy | Policy, tape: np.ndarray | None = None) -> Replay:
    """Run `policy` on the trace's conditions and tape (or on another tape)."""
    diffusion: GaussianDiffusion = policy.diffusion_model
    normalizer: DatasetNormalizer = policy.normalizer
    noise = torch.from_numpy(golden.tape if tape is None else tape).to(diffusion.betas)
    cond = format_conditions(golden.conditions, golden.batch_size, normalizer, diffusion)
    if isinstance(policy, Policy):
        x, chain = diffusion(cond, tape=noise, return_diffusion=True)
        values: Tensor = x.new_zeros(len(x))
    else:
        guide = {} if policy.guide is None else {"guide": policy.guide}
        x, values, chain = diffusion(cond, tape=noise, return_chain=True, **guide, **policy.sample_kwargs)
    actions, observations = split(x, policy.action_dim, normalizer)
    return Replay(actions[0, 0], actions, observations, values.numpy(), chain.numpy())
