"""Planning with a network that takes a condition: shapes, situations, seeds, refusals."""

import numpy as np
import pytest

import diffuser_fast as dfx
from diffuser_fast.conformance import random_checkpoint, random_weights
from diffuser_fast.core.checkpoint import Acting, Checkpoint, Weights
from diffuser_fast.core.lower import lower
from diffuser_fast.core.normalizers import Affine, Normalizers
from diffuser_fast.core.schedule import cosine
from diffuser_fast.core.spec import UNetSpec

H, O, A, HISTORY = 8, 3, 2, 2


def checkpoint(**changes):
    spec = UNetSpec(H, A, dim=16, dim_mults=(1, 2), film=True, condition=O * HISTORY)
    rng = np.random.default_rng(0)
    arrays = {name: array for program in lower(spec).programs for name, array in random_weights(program, rng).items()}
    fields = {
        "unet": Weights(spec, arrays), "schedule": cosine(4), "action_dim": A,
        "acting": Acting("condition", HISTORY, 1, 3),
        "normalizers": Normalizers(Affine([2.0] * O, [0.5] * O), Affine([1.0] * A, [0.0] * A)),
    }  # fmt: skip
    return Checkpoint(**fields | changes)


def planner(**options):
    return dfx.Planner(checkpoint(), "reference", batch_size=2, **options)


def seen(*lead):
    return np.random.default_rng(1).normal(size=(*lead, HISTORY, O))


def test_situations_in_one_call_are_calls_of_their_own():
    together = planner().plan({}, condition=seen(3))
    assert together.actions.shape == (3, 2, H, A) and together.observations.shape == (3, 2, H, 0)
    one = planner()
    for e in range(3):
        np.testing.assert_allclose(one.plan({}, condition=seen(3)[e]).actions, together.actions[e], rtol=0, atol=1e-5)


def test_the_condition_matters_and_its_units_are_physical():
    one, other = planner(), planner()
    first = one.plan({}, condition=seen()).actions
    assert np.abs(first - other.plan({}, condition=seen() + 0.1).actions).max() > 1e-3
    scaled = checkpoint(normalizers=Normalizers(Affine([1.0] * O, [0.5] * O), Affine([1.0] * A, [0.0] * A)))
    same = dfx.Planner(scaled, "reference", batch_size=2).plan({}, condition=2 * seen())
    np.testing.assert_allclose(same.actions, first, rtol=0, atol=1e-5)


def test_a_history_of_one_may_be_one_observation():
    spec = UNetSpec(H, A, dim=16, dim_mults=(1, 2), condition=O)
    arrays = {
        name: array
        for program in lower(spec).programs
        for name, array in random_weights(program, np.random.default_rng(0)).items()
    }
    one = checkpoint(unet=Weights(spec, arrays), acting=Acting("condition"))
    plans = [
        dfx.Planner(one, "reference").plan({}, condition=c).actions for c in (seen()[0], seen()[:1], seen()[None, :1])
    ]
    np.testing.assert_array_equal(plans[0], plans[1])
    np.testing.assert_allclose(plans[0], plans[2][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("conditions", "condition", "message"),
    [
        ({}, None, r"condition: missing; the network takes one of shape \[2, 3\]"),
        ({0: [0, 0, 0]}, seen(), "conditions: the plans hold actions alone; give the last observations as condition"),
        ({}, seen()[0], r"condition: expected shape \[2, 3\] or \[E, 2, 3\], found \[3\]"),
        ({}, seen(1, 1), r"condition: expected shape \[2, 3\] or \[E, 2, 3\], found \[1, 1, 2, 3\]"),
        ({}, seen() * np.nan, "condition: expected finite numbers"),
        ({}, seen() * 1e39, "is too large for float32 once normalised"),
        ({}, np.zeros((0, HISTORY, O)), "condition: expected shape"),
    ],
)
def test_conditions_that_do_not_fit(conditions, condition, message):
    with pytest.raises(ValueError, match=message):
        planner().plan(conditions, condition=condition)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"acting": Acting("condition", 4)}, "acting: 4 observations are to be the network's condition, which is 6"),
        ({"action_dim": 1}, "all 2 of a transition actions"),
        ({"acting": Acting("condition", HISTORY, 6, 3)}, "acting: its actions end beyond the horizon, 8"),
        ({"clip_range": 0}, "clip_range: found 0.0, expected a positive number"),
    ],
)
def test_checkpoints_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        checkpoint(**changes)


def test_a_network_without_a_condition_takes_none():
    spec = UNetSpec(H, 5, dim=16, dim_mults=(1, 2))
    plain = random_checkpoint(spec)
    with pytest.raises(ValueError, match="condition: the network takes none; observations go to conditions"):
        dfx.Planner(plain, "reference").plan({}, condition=[1.0])
    with pytest.raises(ValueError, match="condition_weight: the network takes no condition"):
        Checkpoint(plain.unet, plain.schedule, 2, condition_weight=2.0)
