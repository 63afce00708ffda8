"""accelerate(policy): the oracle's look-alikes of the original's policies, called as before, on our engines."""

import inspect
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bounds import agree, implied_plans, implied_trace, there_and_back, within
from dropin.policies import STEPS, both, given, guided, maze2d, unguided
from oracle.diffusion import default_sample_fn, n_step_guided_p_sample
from oracle.goldens import NAMES, load_golden, load_policy
from oracle.normalizers import CDFNormalizer, DebugNormalizer, LimitsNormalizer, Normalizer

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.dropin.janner.settings import GUIDE_ARGUMENTS, GUIDE_DEFAULTS

# What was recorded, and what is drawn here, need not lie inside the limits it is normalised by.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the data's limits")

BACKENDS = sorted({target.backend for target in c.targets()})


POLICIES = {
    "guided": guided,
    "guided, epsilon, clipped": lambda: guided(epsilon=True, clip=True),
    "guided, CDF": lambda: guided(kind=CDFNormalizer, clip=True),
    "guided, debug": lambda: guided(kind=DebugNormalizer),
    "guided, limits": lambda: guided(kind=LimitsNormalizer, clip=True),
    "guided, networks of the maze2d branch": lambda: guided(branch=True),
    "guided, defaults of the step": lambda: guided(without=("n_guide_steps", "t_stopgrad"), scale=2.0),
    "guided, not scaled": lambda: guided(scale_grad_by_std=False, scale=0.02),
    "guided, tiny": lambda: guided(2, observations=1, actions=1),
    "unguided": unguided,
    "unguided, epsilon": lambda: unguided(epsilon=True),
    "unguided, tiny": lambda: unguided(2, observations=2, actions=1),
    "unguided, length 1": lambda: unguided(1, mults=(1,)),
    "unguided, depth 1": lambda: unguided(8, observations=1, actions=0),
    "unguided, one step by name": lambda: unguided(sample_fn=default_sample_fn),
    "maze2d": maze2d,
    "maze2d, epsilon": lambda: maze2d(epsilon=True),
    "maze2d, tiny": lambda: maze2d(2),
}


def implied_by_call(ours, batch_size, conditions=None, seed=7):
    """What float32 implies for the plans of a call, by whoever draws torch's noise from this seed."""
    torch.manual_seed(seed)
    planner = ours.planner
    tape = ours._subject.torch_tape(batch_size, planner.horizon, planner.loop.rows)
    return implied_plans(planner, conditions or given(ours.policy), tape, foreign=True, whole_array=True)


@cache
def implied_by_policy(name, batch_size, seed):
    ours = dfx.accelerate(POLICIES[name](), backend="reference", noise="torch")
    return implied_by_call(ours, batch_size, seed=seed)


SEEDS = {1: range(7, 13), 4: range(7, 9)}  # by batch size: few numbers are judged over many seeds


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", POLICIES)
def test_the_same_torch_seed_gives_the_same_plans(name, batch_size, backend):
    policy, seeds = POLICIES[name](), SEEDS[batch_size]
    results = [both(policy, batch_size, backend=backend, seed=seed) for seed in seeds]
    (action, plans, after), (wanted_action, wanted, its_after) = results[0]
    assert plans._fields == wanted._fields
    for found, expected in zip((action, *plans), (wanted_action, *wanted), strict=True):
        assert type(found) is type(expected) and found.dtype == expected.dtype and found.shape == expected.shape
        if name != "unguided, depth 1":  # without actions there is nothing to compare in some
            assert np.asarray(expected).size
    implied = [implied_by_policy(name, batch_size, seed) for seed in seeds]
    for field in plans._fields:
        for who in (0, 1):
            numbers = [np.asarray(getattr(result[who][1], field)) for result in results]
            within(numbers, [one[field] for one in implied], f"{field} {('ours', 'the policy')[who]}")
    for first, of in ((action, plans), (wanted_action, wanted)):
        np.testing.assert_array_equal(first, of.actions[0, 0])
    assert after == its_after  # and torch's generator is left where the original leaves it


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_every_row_draws_the_originals_noise(name, batch_size, monkeypatch):
    """Step by step, for torch draws other numbers for x as it lies in memory, and below sixteen elements."""
    policy, drawn = POLICIES[name](), []
    ours = dfx.accelerate(policy, backend="reference", noise="torch")
    torch.manual_seed(3)
    tape = ours._subject.torch_tape(batch_size, ours.planner.horizon, STEPS)

    def recorded(draw):
        def call(*args, **kwargs):
            out = draw(*args, **kwargs)
            drawn.append(out.clone())  # conditions are written into the first
            return out

        return call

    for function in ("randn", "randn_like"):
        monkeypatch.setattr(torch, function, recorded(getattr(torch, function)))
    torch.manual_seed(3)
    policy(given(policy), batch_size=batch_size)
    assert len(tape) == len(drawn) == STEPS + 1
    for entry, expected in enumerate(drawn):
        np.testing.assert_array_equal(tape[entry], expected.numpy(), err_msg=f"entry {entry}")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_policies_of_the_recorded_traces(name, backend):
    """On the recorded noise; and the whole policy again, from a torch seed."""
    golden, policy = load_golden(name), load_policy(name)
    ours = dfx.accelerate(policy, backend=backend, threads=1)
    plans = ours.planner.plan(golden.conditions, noise=golden.tape, batch_size=golden.batch_size)
    agree(implied_trace(name), plans)
    (_, found, _), (_, expected, _) = both(policy, 2, backend=backend, conditions=golden.conditions)
    ours = dfx.accelerate(policy, backend="reference", noise="torch")
    agree(implied_by_call(ours, 2, golden.conditions), found, expected)


def test_philox_noise_by_default():
    policy = guided()
    ours, again = (dfx.accelerate(policy, backend="reference", seed=5) for _ in range(2))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = ours(given(policy), batch_size=3)[1], ours(given(policy), batch_size=3)[1]
    assert torch.equal(torch.get_rng_state(), before)  # torch's generator is left alone
    assert not np.array_equal(first.actions, second.actions)
    np.testing.assert_array_equal(again(given(policy), batch_size=3)[1].actions, first.actions)


def test_calls_are_those_of_the_original():
    policy, maze = dfx.accelerate(guided(), backend="reference"), dfx.accelerate(maze2d(), backend="reference")
    conditions = given(policy)
    assert policy(conditions)[1].actions.shape == (1, 8, 2)
    assert policy(conditions, 3)[1].actions.shape == policy(conditions, 3, False)[1].actions.shape == (3, 8, 2)
    assert policy(conditions, batch_size=2, verbose=True)[1].observations.shape == (2, 8, 4)
    assert maze(conditions)[1].actions.shape == maze(conditions, False)[1].actions.shape == (1, 8, 2)
    assert (
        maze(conditions, debug=True, batch_size=3)[1].observations.shape
        == maze(conditions, False, 3)[1].observations.shape
    )
    action, (actions, observations) = maze(conditions)  # two fields, unpacked
    np.testing.assert_array_equal(action, actions[0, 0])
    action, (actions, observations, values) = policy(conditions, 4)
    assert (values[:-1] >= values[1:]).all() and observations.shape == (4, 8, 4)


def test_other_attributes_are_the_policys():
    policy = guided()
    ours = dfx.accelerate(policy, backend="reference")
    assert ours.normalizer is policy.normalizer and ours.guide is policy.guide
    assert ours.action_dim == 2 and ours.diffusion_model is policy.diffusion_model
    policy.note = "later"
    assert ours.note == "later"
    with pytest.raises(AttributeError, match="no_such_thing"):
        ours.no_such_thing
    assert ours.planner.horizon == 8 and ours.policy is policy


def test_preprocessing_is_applied():
    steps = (lambda obs: obs - 1.0, lambda obs: obs / 2.0)
    policy, plain = guided(preprocess=steps), guided()
    moved = {t: 2 * obs + 1 for t, obs in given(plain).items()}
    found = dfx.accelerate(policy, backend="reference", noise="torch")
    torch.manual_seed(7)
    _, plans = found(moved, batch_size=4)
    implied = implied_by_call(dfx.accelerate(plain, backend="reference", noise="torch"), 4)
    agree(implied, plans)


def test_a_horizon_in_sample_kwargs():
    policy = unguided()
    policy.sample_kwargs["horizon"] = 14
    (_, plans, _), (_, wanted, _) = both(policy, 2)
    assert plans.actions.shape == wanted.actions.shape == (2, 14, 2)
    agree(implied_by_call(dfx.accelerate(policy, backend="reference"), 2), plans, wanted)
    policy = guided()  # whose head sees one time step at either horizon
    policy.sample_kwargs["horizon"] = 14
    (_, plans, _), (_, wanted, _) = both(policy, 2)
    assert plans.actions.shape == (2, 14, 2)
    agree(implied_by_call(dfx.accelerate(policy, backend="reference"), 2), plans, wanted)
    policy.sample_kwargs["horizon"] = 18
    with pytest.raises(ValueError, match=r"policy: its value network: .* to be 18, but the head's width fits 1 to 16"):
        dfx.accelerate(policy, backend="reference")


def test_one_element_outside_clips_all_plans():
    """The original's limits normaliser decides for the whole array; a Planner decides plan by plan."""
    policy = unguided(kind=LimitsNormalizer)  # x0 is not clipped, so that some plans leave the limits
    (_, plans, _), (_, wanted, _) = both(policy, 4)
    ours = dfx.accelerate(policy, backend="reference")
    agree(implied_by_call(ours, 4), plans, wanted)
    for key in ("actions", "observations"):
        limits, found = policy.normalizer.normalizers[key], getattr(plans, key)
        assert (found.min(axis=(0, 1)) == limits.mins.astype(np.float32)).any()
    rng = np.random.default_rng(0)
    x_n = rng.uniform(-1.00005, 1.00005, (3, 8, 6))
    x_n[0, 0, 0] = x_n[0, 0, 2] = 1.5
    x_n[1, 1, 0] = x_n[1, 1, 2] = 1.00005
    actions, _ = ours.planner._physical(x_n)
    wanted = policy.normalizer.unnormalize(x_n[..., :2], "actions")
    there_and_back(actions, wanted, ours.planner.checkpoint.normalizers.actions)
    assert actions[1, 1, 0] == np.float32(policy.normalizer.normalizers["actions"].maxs[0])


def test_a_safe_limits_normaliser_is_a_limits_normaliser():
    class SafeLimitsNormalizer(LimitsNormalizer):
        pass

    policy = unguided(kind=SafeLimitsNormalizer)
    (_, plans, _), (_, wanted, _) = both(policy, 2)
    agree(implied_by_call(dfx.accelerate(policy, backend="reference"), 2), plans, wanted)


# ---------------------------------------------------------------------------------------------------- refusals


def custom_step(model, x, cond, t):
    return model.p_sample(x, cond, t), x.new_zeros(len(x))


class PointMassNormalizer(Normalizer):
    pass


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: unguided(sample_fn=custom_step), "policy: its sample_fn is 'custom_step', a step of your own"),
        (lambda: unguided(sample_fn=lambda *args: None), "policy: its sample_fn is '<lambda>'"),
        (lambda: guided(temperature=2.0), r"n_step_guided_p_sample's temperature in sample_kwargs is not understood"),
        (lambda: unguided(scale=0.1), "policy: default_sample_fn takes no scale"),
        (lambda: unguided(sample_fn=n_step_guided_p_sample), "policy: n_step_guided_p_sample needs a guide"),
        (lambda: unguided(kind=PointMassNormalizer), "policy: its normaliser is a PointMassNormalizer; GaussianNormal"),
        (lambda: guided(scale=float("nan")), "policy: scale in sample_kwargs: found nan, expected a finite"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        dfx.accelerate(make(), backend="reference")


def test_objects_that_are_no_policies():
    with pytest.raises(TypeError, match=r"policy: .*an object with diffusion_model and normalizer.* found dict"):
        dfx.accelerate({})
    with pytest.raises(TypeError, match="found SimpleNamespace"):
        dfx.accelerate(SimpleNamespace(diffusion_model=object(), normalizer=None))
    policy = guided()
    policy.guide = SimpleNamespace()
    with pytest.raises(ValueError, match="policy: its guide is a SimpleNamespace without a value network"):
        dfx.accelerate(policy, backend="reference")
    policy = guided()
    policy.normalizer = SimpleNamespace(normalizers={"observations": None})
    with pytest.raises(ValueError, match=r"policy: its normalizer must hold \.normalizers for 'observations'"):
        dfx.accelerate(policy, backend="reference")


def test_defaults_are_those_of_the_step():
    """The oracle's step has the original's signature."""
    parameters = inspect.signature(n_step_guided_p_sample).parameters
    assert {name: parameters[name].default for name in GUIDE_ARGUMENTS} == GUIDE_DEFAULTS


def test_options_of_accelerate():
    with pytest.raises(ValueError, match="noise: found 'numpy', expected 'philox' or 'torch'"):
        dfx.accelerate(guided(), noise="numpy")
    with pytest.raises(ValueError, match="backend: found 'gpu'"):
        dfx.accelerate(guided(), backend="gpu")
    assert dfx.accelerate(guided(), backend="reference", seed=9).planner.seed == 9
    assert dfx.accelerate(guided()).planner.backend in BACKENDS
