"""Forms in which the parts of the original come: bare networks, wrapped ones, numbers of every kind; what is read."""

import functools
import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dropin.policies import STEPS, both, close, given, guided, maze2d, sizes, unguided
from oracle.diffusion import GaussianDiffusion, default_sample_fn, n_step_guided_p_sample
from oracle.draws import randomize
from oracle.networks import Maze2dTemporalUnet, TemporalUnet, TemporalValue, ValueFunction
from oracle.policies import GuidedPolicy, ValueGuide
from torch import nn

import diffuser_fast as dfx
from diffuser_fast.dropin.janner import guide as bare
from diffuser_fast.formats import load, save

# What is drawn here need not lie inside the limits that it is normalised by.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the data's limits")


def agree(policy, *, ours=None):
    (action, plans, _), (wanted_action, wanted, _) = both(policy, 2, backend="cpu", ours=ours)
    close(action, wanted_action)
    close(plans.observations, wanted.observations)
    return plans


# ---------------------------------------------------------------------------------------------------------- guides


@pytest.mark.parametrize("kind", [ValueFunction, TemporalValue])
def test_a_guide_of_a_bare_value_network(kind):
    policy = guided(branch=kind is TemporalValue)
    policy.guide = ValueGuide(policy.guide.model.model)
    assert isinstance(policy.guide.model, kind)
    plans = agree(policy)
    assert np.unique(plans.values).size == 2


@pytest.mark.parametrize(
    ("horizon", "mults"),
    [
        (18, (1, 8)),
        (20, (1, 8)),
        (22, (1, 8)),
        (36, (1, 4, 8)),
        (44, (1, 4, 8)),
        (72, (1, 2, 4, 8)),
        (88, (1, 2, 4, 8)),
    ],
)
def test_horizons_whose_value_head_is_two_steps_long(horizon, mults):
    policy = guided(horizon, judge_mults=mults)
    agree(policy)
    policy.guide = ValueGuide(policy.guide.model.model)
    agree(policy)


def test_the_step_as_a_partial():
    step = functools.partial(n_step_guided_p_sample, n_guide_steps=3, scale=1.0)
    policy = guided(sample_fn=step, without=("n_guide_steps", "scale"))
    agree(policy)
    guide = dfx.accelerate(policy, backend="cpu").planner.checkpoint.guide
    assert (guide.n_steps, guide.scale, guide.t_stopgrad) == (3, 1.0, 1)
    agree(unguided(sample_fn=functools.partial(default_sample_fn)))
    with pytest.raises(ValueError, match="partial with positional arguments; name them"):
        dfx.accelerate(guided(sample_fn=functools.partial(n_step_guided_p_sample, None)), backend="cpu")


@pytest.mark.parametrize(
    "options",
    [
        {"scale": np.float32(0.3)}, {"scale": torch.tensor(0.3)}, {"scale": 1},
        {"t_stopgrad": 2.0}, {"t_stopgrad": -1}, {"t_stopgrad": np.int64(3)}, {"t_stopgrad": 2.5},
        {"n_guide_steps": np.int32(1)}, {"n_guide_steps": torch.tensor(3)}, {"horizon": np.int64(12)},
        {"scale_grad_by_std": np.bool_(False), "scale": 0.02},
    ],
)  # fmt: skip
def test_numbers_are_numbers(options):
    policy = guided()
    policy.sample_kwargs.update(options)
    agree(policy)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scale": torch.ones(2)}, "policy: scale in sample_kwargs: found tensor"),
        ({"scale": "0.1"}, "policy: scale in sample_kwargs: found '0.1', expected a finite number"),
        ({"t_stopgrad": float("inf")}, "policy: t_stopgrad in sample_kwargs: found inf, expected a finite number"),
        ({"n_guide_steps": 1.5}, "policy: n_guide_steps in sample_kwargs: found 1.5, expected a whole number"),
        ({"n_guide_steps": -1}, r"n_steps\b.* found -1"),
        ({"horizon": "8"}, "policy: horizon in sample_kwargs: found '8', expected a whole number"),
    ],
)
def test_what_is_no_number(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        policy = guided()
        policy.sample_kwargs.update(options)
        dfx.accelerate(policy, backend="cpu")


# ------------------------------------------------------------------------------------------------ wrapped networks


def compiled(module):
    return torch.compile(module, backend="eager")


def parallel(module):
    return nn.DataParallel(module)


def edit(policy, **parts):
    """Each part of a policy put into a wrapper."""
    for name, wrap in parts.items():
        owner = {"denoiser": policy.diffusion_model, "value": policy.guide.model}.get(name, policy)
        attribute = {"denoiser": "model", "value": "model", "diffusion": "diffusion_model"}.get(name, name)
        setattr(owner, attribute, wrap(getattr(owner, attribute)))
    return policy


WRAPPED = {
    "compiled networks": {"denoiser": compiled, "value": compiled},
    "parallel networks": {"denoiser": parallel, "value": parallel},
    "one in the other": {"denoiser": lambda m: parallel(compiled(m)), "value": lambda m: compiled(parallel(m))},
    "a compiled guide": {"guide": compiled},
    "a compiled diffusion": {"diffusion": compiled},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_networks(name):
    policy = edit(guided(), **WRAPPED[name])
    ours = dfx.accelerate(policy, backend="cpu", threads=1, noise="torch")
    plain = guided()
    torch.manual_seed(2)
    found = ours(given(plain), batch_size=2)[1]
    torch.manual_seed(2)
    close(found.observations, plain(given(plain), batch_size=2)[1].observations)
    planner = ours.planner
    randomize(policy.diffusion_model, 77, torch.float32)
    assert ours.planner is not planner, "what is inside is watched"


def test_a_compiled_step_and_a_compiled_part():
    policy = guided(sample_fn=torch.compile(n_step_guided_p_sample, backend="eager"))
    policy.diffusion_model.model.mid_block1 = compiled(policy.diffusion_model.model.mid_block1)
    ours, plain = dfx.accelerate(policy, backend="cpu", threads=1, noise="torch"), guided()
    agree(plain, ours=ours)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_networks_of_another_precision(dtype):
    """The original runs them in no more than a float32 loop does: compared is a copy in float32."""
    policy = guided()
    policy.diffusion_model.model.to(dtype)
    policy.guide.model.to(dtype)
    ours = dfx.accelerate(policy, backend="cpu", threads=1, noise="torch")
    assert next(policy.diffusion_model.model.parameters()).dtype == dtype
    policy.diffusion_model.model.float()
    policy.guide.model.float()
    agree(policy, ours=ours)


# ---------------------------------------------------------------------------------------------- parts without a policy


def pair(*, branch=False, value=True):
    unet, judge = (Maze2dTemporalUnet, TemporalValue) if branch else (TemporalUnet, ValueFunction)
    net = randomize(unet(8, 6, 4, dim=16, dim_mults=(1, 2)), 1, torch.float32)
    network = randomize(judge(8, 6, 4, dim=16, dim_mults=(1, 8)), 2, torch.float32)
    return GaussianDiffusion(net, predict_epsilon=False, **sizes(8)), network if value else None


OPTIONS = {"scale": 0.5, "n_guide_steps": 2, "t_stopgrad": 1}


@pytest.mark.parametrize("form", ["network", "diffusion", "guide"])
def test_a_diffusion_and_a_value_network_as_a_policy(form):
    policy = guided(**OPTIONS)
    value = {"network": policy.guide.model.model, "diffusion": policy.guide.model, "guide": policy.guide}[form]
    ours = dfx.accelerate(
        policy.diffusion_model, guide=value, normalizer=policy.normalizer, sample_kwargs=OPTIONS,
        backend="cpu", threads=1, noise="torch",
    )  # fmt: skip
    plans = agree(policy, ours=ours)
    assert plans._fields == ("actions", "observations", "values")
    assert ours.diffusion_model is policy.diffusion_model and ours.planner.checkpoint.guide.scale == 0.5


def test_a_diffusion_alone_as_a_policy():
    policy = unguided()
    ours = dfx.accelerate(policy.diffusion_model, normalizer=policy.normalizer, backend="cpu", threads=1, noise="torch")
    agree(policy, ours=ours)


def test_a_namespace_of_a_policys_parts():
    policy = guided()
    parts = SimpleNamespace(
        **{n: getattr(policy, n) for n in ("diffusion_model", "guide", "normalizer", "sample_kwargs")}
    )
    ours = dfx.accelerate(parts, backend="cpu", threads=1, noise="torch")
    assert ours.policy is parts
    agree(policy, ours=ours)


def test_a_diffusion_keeps_its_own_call():
    diffusion, network = pair()
    ours = dfx.accelerate(diffusion, backend="cpu", threads=1, noise="torch")
    cond = {0: torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), -1: torch.zeros(3, 4)}
    guide = ValueGuide(network)
    calls = [
        {},
        {"horizon": 12},
        {"sample_fn": n_step_guided_p_sample, "guide": guide, **OPTIONS, "return_chain": True},
        {"sample_fn": n_step_guided_p_sample, "guide": guide, "scale": 2.0},
        {"verbose": False},
    ]
    for options, name in zip(calls, ["__call__", "forward", "conditional_sample", "__call__", "__call__"], strict=True):
        samples = []
        for one in (ours, diffusion):
            torch.manual_seed(5)
            samples.append(getattr(one, name)(cond, **options))
        found, wanted = samples
        assert found._fields == wanted._fields and (found.chains is None) == (wanted.chains is None)
        for mine, theirs in zip(found, wanted, strict=True):
            if theirs is not None:
                assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
                close(mine, theirs)
    assert ours.action_dim == 2 and ours.policy is diffusion
    with pytest.raises(ValueError, match=r"cond\[0\]: expected normalised observations of shape \[B, O\], found \[4\]"):
        ours({0: torch.zeros(4)})
    with pytest.raises(ValueError, match="n_step_guided_p_sample needs a guide"):
        ours(cond, sample_fn=n_step_guided_p_sample)


def test_a_diffusion_of_another_precision():
    diffusion, network = pair()
    arguments = {"guide": network.bfloat16(), "sample_kwargs": OPTIONS}
    diffusion.model.bfloat16()
    assert dfx.accelerate(diffusion, backend="cpu", threads=1, **arguments)({0: torch.zeros(2, 4)}).values.shape == (2,)


def test_the_maze2d_branchs_diffusion_returns_tensors():
    diffusion = maze2d().diffusion_model
    ours = dfx.accelerate(diffusion, backend="cpu", threads=1, noise="torch")
    results = []
    for one in (ours, diffusion):
        torch.manual_seed(5)
        results.append(one({0: torch.full((2, 4), 0.3)}, return_diffusion=True))
    for mine, theirs in zip(*results, strict=True):
        close(mine, theirs)
    assert isinstance(ours({0: torch.zeros(1, 4)}), torch.Tensor)


def test_the_guide_for_bare_networks_is_the_oracles():
    _, network = pair()
    x, t = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 2, 5])
    for found, wanted in zip(bare.ValueGuide(network).gradients(x, {}, t), ValueGuide(network).gradients(x, {}, t)):
        torch.testing.assert_close(found, wanted)
    names = inspect.signature(n_step_guided_p_sample).parameters
    ours = inspect.signature(bare.n_step_guided_p_sample).parameters
    assert {name: ours[name].default for name in ours} == {name: names[name].default for name in ours}


def test_arguments_that_belong_to_bare_diffusions():
    policy = guided()
    with pytest.raises(TypeError, match="guide, sample_kwargs: of a bare diffusion; the policy has its own"):
        dfx.accelerate(policy, guide=policy.guide, sample_kwargs={})
    with pytest.raises(
        TypeError, match=r"as the original's GuidedPolicy and Policy have, or its GaussianDiffusion; .*found ValueGuide"
    ):
        dfx.accelerate(policy.guide)


# --------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("observation", [np.zeros((1, 4)), np.zeros((3, 4)), 0.0, torch.zeros(1, 4)])
@pytest.mark.parametrize("make", [guided, maze2d])
def test_one_observation_at_a_time(make, observation):
    """As for the original; a batch of plans is asked for by batch_size."""
    ours = dfx.accelerate(make(), backend="cpu", threads=1)
    with pytest.raises(ValueError, match=r"conditions\[0\]: expected one observation, of shape \[O\], found shape \["):
        ours({0: observation})


def test_a_saved_planner_guides_as_the_policy_does(tmp_path):
    policy = guided(scale=0.7, n_guide_steps=3, t_stopgrad=4, scale_grad_by_std=False)
    ours = dfx.accelerate(policy, backend="cpu", threads=1, noise="torch")
    saved = load(save(ours.planner.checkpoint, tmp_path / "a.safetensors"))
    assert saved.guide == dfx.Guide(scale=0.7, n_steps=3, t_stopgrad=4, scale_by_variance=False)
    tape = np.random.default_rng(0).normal(size=(STEPS + 1, 2, 8, 6)).astype(np.float32)
    found = dfx.Planner(saved, "cpu", batch_size=2, threads=1).plan(given(policy), tape)
    np.testing.assert_array_equal(found.actions, ours.planner.plan(given(policy), tape, batch_size=2).actions)
    policy.sample_kwargs["scale"] = 0.1
    assert ours.planner.checkpoint.guide.scale == 0.1


def test_accelerated_twice_is_accelerated_once():
    policy = guided()
    once = dfx.accelerate(policy, backend="cpu")
    assert dfx.accelerate(once, backend="reference").policy is policy
    assert isinstance(policy, GuidedPolicy) and not isinstance(once, GuidedPolicy)
