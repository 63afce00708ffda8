"""accelerate compares a few plans: what plans as its names say is taken, what does not is refused with the numbers."""

import re

import numpy as np
import pytest
import torch
from dropin.policies import both, close, given, guided, maze2d, unguided
from oracle import variants
from oracle.goldens import load_policy
from oracle.normalizers import LimitsNormalizer

import diffuser_fast as dfx
from diffuser_fast.backends.cpu import CpuEngine
from diffuser_fast.formats import save

# What is drawn here need not lie inside the limits that it is normalised by.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the data's limits")


def turned(subject, **classes):
    """The policy, or one of its attributes, made one of another class."""
    for name, cls in classes.items():
        (subject if name == "policy" else getattr(subject, name)).__class__ = cls
    return subject


def with_guide(make):
    policy = guided()
    policy.guide = make(policy.guide.model)
    return policy


def with_network(change):
    policy = guided()
    policy.diffusion_model.model = change(policy.diffusion_model.model)
    return policy


def with_value(change):
    policy = guided()
    policy.guide.model.model = change(policy.guide.model.model)
    return policy


# ------------------------------------------------------------------------------------------------- the same plans

SAME = {
    "the locomotion branch": lambda: guided(sample_fn=variants.locomotion_step),
    "the locomotion branch, barely guided": lambda: guided(sample_fn=variants.locomotion_step, scale=1e-5),
    "the policy as published, which writes cuda:0": lambda: turned(guided(), policy=variants.PublishedPolicy),
    "four groups": lambda: with_network(lambda net: variants.with_groups(net, 4)),
    "four groups in the value network": lambda: with_value(lambda net: variants.with_groups(net, 4)),
    "a fork that is the original": lambda: guided(sample_fn=variants.step_of(variants.by_variance)),
}


@pytest.mark.parametrize("name", SAME)
def test_what_plans_alike_is_taken(name):
    policy = SAME[name]()
    ours = dfx.accelerate(policy, backend="reference", noise="torch", threads=1)
    if isinstance(policy, variants.PublishedPolicy):
        policy = turned(policy, policy=variants.GuidedPolicy)  # which plans the same, and runs here
    results = []
    for one in (ours, policy):
        torch.manual_seed(3)
        results.append(one(given(policy), batch_size=3, verbose=False)[1])
    close(results[0].observations, results[1].observations)
    close(results[0].values, results[1].values)
    assert np.abs(results[1].observations).max() > 0.1


def test_which_branch_it_is_is_kept_with_the_checkpoint(tmp_path):
    policy = guided(sample_fn=variants.locomotion_step, scale=0.2, n_guide_steps=1)
    planner = dfx.accelerate(policy, backend="reference").planner
    expected = dfx.Guide(scale=0.2, n_steps=1, t_stopgrad=1, variance_power=0.5)
    assert planner.checkpoint.guide == expected
    loaded = dfx.load(save(planner.checkpoint, tmp_path / "a.safetensors"))
    assert loaded.guide == expected
    noise = np.random.default_rng(0).normal(size=(7, 1, 8, 6)).astype(np.float32)
    again = dfx.Planner(loaded, "reference", batch_size=1).plan(given(policy), noise)
    np.testing.assert_array_equal(again.actions, planner.plan(given(policy), noise).actions)


def test_a_guide_too_weak_to_show_is_compared_again_when_it_is_strong():
    """At scale 0 both branches plan alike; nothing is vouched for then."""
    policy = guided(sample_fn=variants.locomotion_step, scale=0.0)
    ours = dfx.accelerate(policy, backend="reference", noise="torch", threads=1)
    assert ours.planner.checkpoint.guide.variance_power == 1.0
    policy.sample_kwargs["scale"] = 0.3
    (_, plans, _), (_, wanted, _) = both(policy, 2, ours=ours)
    close(plans.observations, wanted.observations)
    assert ours.planner.checkpoint.guide.variance_power == 0.5
    policy = guided(sample_fn=variants.edited_step, scale=0.0)
    ours = dfx.accelerate(policy, backend="reference")
    policy.sample_kwargs["scale"] = 0.3
    with pytest.raises(ValueError, match="policy: it plans otherwise than the original"):
        ours(given(policy))


# ----------------------------------------------------------------------------------------------------- other plans

OTHER = {
    "an edited step": lambda: guided(sample_fn=variants.edited_step),
    "a class called ValueGuide": lambda: with_guide(variants.forked_guide),
    "another activation": lambda: with_network(variants.with_silu),
    "another activation in the value network": lambda: with_value(variants.with_silu),
    "its own estimate of x0": lambda: turned(guided(), diffusion_model=variants.CautiousDiffusion),
    "its own estimate of x0, unguided": lambda: turned(unguided(), diffusion_model=variants.CautiousDiffusion),
    "its own conditions": lambda: turned(guided(), policy=variants.RoundingPolicy),
    "half the noise": lambda: turned(maze2d(), diffusion_model=variants.HalvedNoiseDiffusion),
}


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", OTHER)
def test_what_plans_otherwise_is_refused_with_the_numbers(name, backend):
    with pytest.raises(ValueError, match="policy: it plans otherwise than the original") as caught:
        dfx.accelerate(OTHER[name](), backend=backend, threads=1)
    numbers = [float(number) for number in re.findall(r"by ([\d.e+-]+)", str(caught.value))]
    assert max(numbers) > 5e-4 and "check=False" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", OTHER)
def test_whoever_knows_better_can_say_so(name):
    policy = OTHER[name]()
    plans = dfx.accelerate(policy, backend="reference", check=False)(given(policy))[1]
    assert plans.actions.shape == (1, 8, 2)


def test_the_classes_and_the_file_are_named():
    with pytest.raises(
        ValueError, match=r"One of RoundingPolicy, GaussianDiffusion, TemporalUnet, ValueGuide, "
    ) as caught:
        dfx.accelerate(turned(guided(), policy=variants.RoundingPolicy), backend="reference")
    assert re.search(r"n_step_guided_p_sample in .*diffusion\.py is of its own", str(caught.value))


# ---------------------------------------------------------------------------- what one plan cannot vouch for

SEEN = {
    "a negated value": (lambda: with_guide(variants.NegatedGuide), r"its guide has forward\(\) of its own \(NegatedG"),
    "a bounded gradient": (
        lambda: with_guide(variants.ClippedGuide),
        r"its guide has gradients\(\) of its own \(Clipp",
    ),
    "a cost that is zero on most plans": (
        lambda: with_guide(variants.DistantObstacleGuide),
        r"its guide has forward\(\) of its own \(DistantObstacleGuide\), which a compiled loop would not call",
    ),
    "something done beside": (lambda: with_guide(variants.TimingGuide), r"gradients\(\) of its own \(TimingGuide\)"),
    "a wrapped step": (
        lambda: guided(sample_fn=variants.wrapped_step),
        r"its sample_fn is wrapped by oracle\.variants",
    ),
}


@pytest.mark.parametrize("name", SEEN)
def test_methods_of_its_own_are_seen(name):
    make, sentence = SEEN[name]
    with pytest.raises(ValueError, match=sentence):
        dfx.accelerate(make(), backend="reference")
    policy = make()
    assert dfx.accelerate(policy, backend="reference", check=False)(given(policy))[1].actions.shape == (1, 8, 2)


# ----------------------------------------------------------------------------------------------- how it is compared


@pytest.mark.parametrize("noise", ["philox", "torch"])
def test_torchs_generator_is_left_as_it_was(noise):
    policy, edited = guided(), guided(sample_fn=variants.edited_step)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    dfx.accelerate(policy, backend="reference", noise=noise)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="plans otherwise"):
        dfx.accelerate(edited, backend="reference", noise=noise)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_comparison_does_not_count_as_a_plan():
    policy = guided()
    compared, not_compared = (dfx.accelerate(policy, backend="reference", seed=5, check=c) for c in (True, False))
    for _ in range(2):
        np.testing.assert_array_equal(compared(given(policy))[0], not_compared(given(policy))[0])


def test_the_policy_runs_once_for_a_few_plans_and_silently(capsys):
    policy, seen = guided(), []
    call = type(policy.diffusion_model).p_sample_loop

    def counted(self, shape, *args, verbose=True, **kwargs):
        seen.append((shape, verbose))
        return call(self, shape, *args, verbose=verbose, **kwargs)

    policy.diffusion_model.p_sample_loop = counted.__get__(policy.diffusion_model)
    ours = dfx.accelerate(policy, backend="reference")
    for _ in range(3):
        ours(given(policy), batch_size=2)
    assert seen == [((3, 8, 6), False)] and capsys.readouterr().out == ""
    dfx.accelerate(policy, backend="reference", check=False)
    assert len(seen) == 1


def test_conditions_of_ones_own():
    policy = turned(guided(), policy=variants.GoallessPolicy)
    with pytest.raises(
        ValueError, match=r"could not be run, to compare .*\(AssertionError: a goal given.*check=\{0: obs"
    ):
        dfx.accelerate(policy, backend="reference")
    first = {0: given(policy)[0]}
    assert dfx.accelerate(policy, backend="reference", check=first)(first)[1].actions.size
    with pytest.raises(TypeError, match="check: expected True, False or conditions"):
        dfx.accelerate(policy, check="yes")


def test_a_policy_that_cannot_run():
    policy = guided()
    policy.preprocess_fn = lambda obs: obs[:2] / 0
    with pytest.raises(ValueError, match=r"policy: it could not be run, .*check=False takes it as it is read"):
        dfx.accelerate(policy, backend="reference")
    assert dfx.accelerate(policy, backend="reference", check=False).planner.horizon == 8


def test_noise_that_is_drawn_otherwise():
    policy = turned(guided(), diffusion_model=variants.DropoutDiffusion)
    with pytest.raises(ValueError, match=r"draws 7 of \[3, 8, 6\] for 3 plans: 7 of \[3, 8, 6\], 6 of \[3, 1\]"):
        dfx.accelerate(policy, backend="reference")
    # What torch draws depends on how tensors lie in memory: on other numbers, the plans are the original's.
    policy = with_network(variants.Contiguous)
    with pytest.raises(ValueError, match="noise: the policy draws other numbers from torch's generator"):
        dfx.accelerate(policy, backend="reference", noise="torch")
    assert dfx.accelerate(policy, backend="reference")(given(policy))[1].actions.size


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"sampler": "ddim", "n_steps": 3}, {"n_steps": 2}])
def test_approximations_that_were_asked_for_are_no_difference(options):
    if "precision" in options:
        policy, backend = load_policy("hopper_guided"), "cpu"
    else:
        policy, backend = guided(), "reference"
    ours = dfx.accelerate(policy, backend=backend, threads=1, **options)
    assert ours.planner.exactness != "exact"
    with pytest.raises(ValueError, match="plans otherwise"):
        dfx.accelerate(guided(sample_fn=variants.edited_step), backend=backend, threads=1, **options)


def test_the_comparison_is_made_by_the_engine_that_plans(monkeypatch):
    """An engine that were wrong would be noticed."""
    run = CpuEngine.__call__

    def off(self, *args, **kwargs):
        result = run(self, *args, **kwargs)
        result.x[:, 1] += 1e-2
        return result

    monkeypatch.setattr(CpuEngine, "__call__", off)
    with pytest.raises(ValueError, match="plans otherwise"):
        dfx.accelerate(guided(), backend="cpu", threads=1)


@pytest.mark.parametrize("kind", [LimitsNormalizer])
def test_differences_are_normalised(kind):
    """A dimension of tiny numbers counts as much as one of large."""
    policy = turned(guided(kind=kind), policy=variants.RoundingPolicy)
    for field in policy.normalizer.normalizers.values():
        field.mins, field.maxs = field.mins * 1e-6, field.maxs * 1e-6
    with pytest.raises(ValueError, match="plans otherwise"):
        dfx.accelerate(policy, backend="reference")
