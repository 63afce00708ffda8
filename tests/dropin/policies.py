"""Policies of the oracle's look-alikes, small and with random weights, and the same call on one and on ours."""

import numpy as np
import torch
from oracle.diffusion import GaussianDiffusion, Maze2dGaussianDiffusion, ValueDiffusion, n_step_guided_p_sample
from oracle.draws import randomize
from oracle.networks import Maze2dTemporalUnet, TemporalUnet, TemporalValue, ValueFunction
from oracle.normalizers import (
    CDFNormalizer,
    DatasetNormalizer,
    GaussianNormalizer,
    LimitsNormalizer,
)  # fmt: skip
from oracle.policies import GuidedPolicy, Policy, ValueGuide

import diffuser_fast as dfx

STEPS = 6


def statistics(kind, dim, seed):
    rng = np.random.default_rng(seed)
    centre, width = rng.normal(0, 1, dim).astype(np.float32), rng.uniform(0.5, 2, dim).astype(np.float32)
    if kind is GaussianNormalizer:
        return kind(centre - width, centre + width, centre, width)
    if kind is CDFNormalizer:
        return kind(rng.normal(centre, width, (200, dim)).astype(np.float32))
    return kind(centre - width, centre + width)


def normalizer(kind=GaussianNormalizer, observations=4, actions=2):
    return DatasetNormalizer(
        {"observations": statistics(kind, observations, 1), "actions": statistics(kind, actions, 2)}
    )


def sizes(horizon, observations=4, actions=2):
    return {"horizon": horizon, "observation_dim": observations, "action_dim": actions, "n_timesteps": STEPS}


def guided(horizon=8, *, observations=4, actions=2, epsilon=False, clip=False, kind=GaussianNormalizer, preprocess=(),
           mults=(1, 2), judge_mults=(1, 8), branch=False, without=(), **sample_kwargs):  # fmt: skip
    """A GuidedPolicy of the main layout (or with the branch's networks), guided unless told otherwise."""
    depth = observations + actions
    unet, value = (Maze2dTemporalUnet, TemporalValue) if branch else (TemporalUnet, ValueFunction)
    net = randomize(unet(horizon, depth, observations, dim=16, dim_mults=mults), 1, torch.float32)
    judge = randomize(value(horizon, depth, observations, dim=16, dim_mults=judge_mults), 2, torch.float32)
    all_sizes = sizes(horizon, observations, actions)
    diffusion = GaussianDiffusion(net, predict_epsilon=epsilon, clip_denoised=clip, **all_sizes)
    guide = ValueGuide(ValueDiffusion(judge, loss_type="value_l2", **all_sizes))
    options = {"sample_fn": n_step_guided_p_sample, "scale": 0.3, "n_guide_steps": 2, "t_stopgrad": 1, **sample_kwargs}
    options = {name: value for name, value in options.items() if name not in without}
    return GuidedPolicy(guide, diffusion, normalizer(kind, observations, actions), preprocess, **options)


def unguided(horizon=8, *, observations=4, actions=2, epsilon=False, clip=False, kind=GaussianNormalizer, mults=(1, 2),
             **sample_kwargs):  # fmt: skip
    net = TemporalUnet(horizon, observations + actions, observations, dim=16, dim_mults=mults)
    diffusion = GaussianDiffusion(
        randomize(net, 3, torch.float32), predict_epsilon=epsilon, clip_denoised=clip,
        **sizes(horizon, observations, actions),
    )  # fmt: skip
    return GuidedPolicy(None, diffusion, normalizer(kind, observations, actions), **sample_kwargs)


def maze2d(horizon=8, *, epsilon=False, kind=LimitsNormalizer, mults=(1, 2)):
    net = randomize(Maze2dTemporalUnet(horizon, 6, 4, dim=16, dim_mults=mults), 4, torch.float32)
    diffusion = Maze2dGaussianDiffusion(net, predict_epsilon=epsilon, clip_denoised=True, **sizes(horizon))
    return Policy(diffusion, normalizer(kind))


def close(found, expected):
    """To 1e-4, of the largest number if that is more than one: an unclipped epsilon network goes far."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max(initial=0)))


def given(policy, seed=0):
    """Conditions in physical units: the first observation, and of longer plans the last."""
    rng, observations = np.random.default_rng(seed), policy.diffusion_model.observation_dim
    first = {0: rng.normal(0, 0.7, observations).astype(np.float32)}
    long = policy.diffusion_model.horizon > 2
    return {**first, policy.diffusion_model.horizon - 1: first[0][::-1].copy()} if long else first


def both(policy, batch_size, *, backend="reference", conditions=None, ours=None, seed=7):
    """The same call on the policy and on what we make of it, from one state of torch's generator."""
    ours = ours or dfx.accelerate(policy, backend=backend, noise="torch", threads=1)
    conditions, kwargs = conditions or given(policy), {} if isinstance(policy, Policy) else {"verbose": False}
    results = []
    for one in (ours, policy):
        torch.manual_seed(seed)
        results.append((*one(conditions, batch_size=batch_size, **kwargs), torch.rand(1)))
    return results
