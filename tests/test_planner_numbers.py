"""A planner takes numbers and observations of any library, and says what it does not hold to."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.core.normalizers import Gaussian, Limits, Normalizers
from diffuser_fast.core.spec import UNetSpec

torch.set_num_threads(1)
H, A, O, T = 8, 2, 4, 4
OBS = np.array([0.1, -0.2, 0.3, 0.0])
ACTIONS = Limits([-1] * A, [1] * A)


@cache
def checkpoint(kind="limits"):
    observations = Limits([-1, -2, -3, 0], [1, 2, 3, 0.5]) if kind == "limits" else Gaussian([0.0] * O, [1.0] * O)
    random = c.random_checkpoint(UNetSpec(H, A + O, dim=16, dim_mults=(1, 2)), action_dim=A, n_train=T)
    actions = ACTIONS if kind == "limits" else Gaussian([0.0] * A, [1.0] * A)
    return replace(random, normalizers=Normalizers(observations, actions))


def planner(kind="limits", **options):
    return dfx.Planner(checkpoint(kind), "reference", **{"batch_size": 2, "threads": 1, **options})


@pytest.mark.parametrize(
    "number", [np.int64, np.uint8, np.array, torch.tensor], ids=["int64", "uint8", "array", "tensor"]
)
def test_options_may_be_any_librarys_numbers(number):
    options = {"batch_size": 3, "horizon": 8, "n_steps": 3, "threads": 1, "seed": 7, "warm_start": 2}
    ours = planner(**options, sampler="ddim", eta=0.5)
    theirs = planner(**{name: number(value) for name, value in options.items()}, sampler="ddim", eta=np.float32(0.5))
    for name in ("batch_size", "horizon", "seed", "warm_start", "threads"):
        assert type(getattr(theirs, name)) is int, name
    one, other = (p.plan({0: OBS}, batch_size=number(2), horizon=number(4)) for p in (ours, theirs))
    np.testing.assert_array_equal(one.actions, other.actions)
    theirs.reset(number(7))
    ours.reset(7)
    np.testing.assert_array_equal(theirs.act(OBS), ours.act(OBS))


@pytest.mark.parametrize(
    "given",
    [
        OBS.tolist(),
        torch.tensor(OBS),
        torch.tensor(OBS, requires_grad=True),
        [torch.tensor(v, requires_grad=True) for v in OBS],
    ],
    ids=["list", "tensor", "leaf", "leaves"],
)
def test_observations_and_tapes_may_be_tensors(given):
    noise = np.random.default_rng(0).normal(size=(T + 1, 2, H, A + O)).astype(np.float32)
    expected = planner().plan({0: OBS}, noise=noise).actions
    for tape in (noise, torch.tensor(noise, requires_grad=True), noise.tolist()):
        np.testing.assert_array_equal(planner().plan({0: given}, noise=tape).actions, expected)
    np.testing.assert_array_equal(planner().act(given), planner().act(OBS))
    some = {0: {np.int64(i): value for i, value in enumerate(given)}}
    np.testing.assert_array_equal(planner().plan(some, noise=noise).actions, expected)


def test_observations_that_are_none():
    with pytest.raises(TypeError, match=r"obs: expected numbers, found list of dtype <U3"):
        planner().act(["0.1"] * O)
    with pytest.raises(TypeError, match=r"noise: expected numbers, found str"):
        planner().plan({}, noise="0")


BEYOND = {
    "an observation": ({0: [0, 0, 0, 0.8]}, r"conditions\[0\]: dimension 3 is 0.8, beyond the data's limits, 0 to 0.5"),
    "one dimension": ({-1: {1: -2.5}}, r"conditions\[-1\]: dimension 1 is -2.5, beyond the data's limits, -2 to 2"),
    "a situation": (
        {0: np.array([[0.0] * O, [0, 0, 0, 9]])},
        r"conditions\[0\]: dimension 3 of situation 1 is 9, beyond the data's limits, 0 to 0.5",
    ),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_lies_beyond_the_limits_is_said(name):
    conditions, sentence = BEYOND[name]
    one = planner()
    with pytest.warns(UserWarning, match=sentence) as caught:
        plans = one.plan(conditions)
    assert plans.clipped and len(caught) == 1 and caught[0].filename == __file__
    limits = checkpoint().normalizers.observations
    assert (plans.observations >= limits.mins - 1e-5).all() and (plans.observations <= limits.maxs + 1e-5).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one.plan(conditions).clipped, "said once, but always marked"
        assert not one.plan({0: OBS}).clipped
    with pytest.warns(UserWarning, match="beyond the data's limits"):
        assert planner().act([0, 0, 0, 5]).shape == (A,)


def test_what_does_not_lie_beyond():
    edge = {0: [1, -2, 3, 0.5], -1: [-1 - 2e-5, 0, 0, 0]}  # an element so little outside is not clipped either
    assert not planner().plan(edge).clipped
    assert not planner().plan({0: {0: 0.5}}).clipped, "what is not given is beyond nothing"
    far = planner("gaussian").plan({0: [1e3, 0, 0, 0]})
    assert not far.clipped and far.observations[0, 0, 0] == 1e3, "a Gaussian has no limits"
