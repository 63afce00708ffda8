"""Plans that follow a cost: on every engine, in C, on time, and where they are told to go."""

import copy

import numpy as np
import pytest
from csrc.engines import needs_engine

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.core.conditioning import inpainting_of
from diffuser_fast.core.spec import UNetSpec, ValueSpec

H, A, O = 8, 2, 4
OBS = np.linspace(-1, 1, O)
COST = dfx.Cost.keep_out((0.3, -0.2), 1.2, 0.2) + dfx.Cost.speed_limit(0.5, 0.1) + dfx.Cost(dfx.Cost.action(0) ** 2)


def planner(backend="reference", valued=True, cost=COST, **options):
    checkpoint = c.random_checkpoint(
        UNetSpec(H, A + O, dim=16, dim_mults=(1, 2)),
        ValueSpec(H, A + O, dim=16, dim_mults=(1, 8)) if valued else None,
        action_dim=A, n_train=6, guide=dfx.Guide(0.5, 2, 1),
    )  # fmt: skip
    return dfx.Planner(checkpoint, backend, cost=cost, **{"batch_size": 3, "threads": 1, **options})


@needs_engine
@pytest.mark.parametrize("valued", [True, False], ids=["beside a value", "alone"])
def test_the_engines_agree(valued):
    made = planner("cpu", valued)
    ours, law = (one.plan({0: OBS}, number=1) for one in (made, planner("reference", valued)))
    tape = np.random.default_rng(2).normal(size=(made.loop.rows + 1, 3, H, A + O)).astype(np.float32)
    inpainting, _ = inpainting_of(made.checkpoint, {0: OBS}, H)
    implied = c.implied_by_plan(made.loop, inpainting, tape).ranked()
    found = made.plan({0: OBS}, noise=tape)
    parts = zip((found.actions, found.observations, found.values), (*implied.physical(made.checkpoint.normalizers),
                implied.values), strict=True)  # fmt: skip
    assert all(c.judge(*part, exactness="exact").passed for part in parts)
    np.testing.assert_allclose(ours.values, law.values, rtol=1e-4)


def test_a_value_is_less_by_the_cost():
    """At the input of the last denoising step, where values are evaluated: there the plan is what the chain says."""
    with_it, without = planner(), planner(cost=None, guide=dfx.Guide(0.0, 0, 0))
    still = planner(guide=dfx.Guide(0.0, 0, 0))  # ranked, not moved
    a, b = still.plan({0: OBS}, number=1, return_chain=True), without.plan({0: OBS}, number=1, return_chain=True)
    chain = a.chain[:, -2]
    costs = COST(chain[..., A:], chain[..., :A])
    order = np.argsort(costs), np.argsort(COST(b.chain[:, -2, :, A:], b.chain[:, -2, :, :A]))
    np.testing.assert_allclose((a.values + costs)[order[0]], b.values[order[1]], rtol=1e-4, atol=1e-4)
    assert not np.array_equal(with_it.plan({0: OBS}, number=1).actions, a.actions)


def test_plans_keep_out():
    """A trained planner's: through a ball on its way without the cost, round it with it."""
    ball = dfx.Cost.keep_out((2.95, 2.6), 0.35)
    guide = dfx.Guide(1.0, 2, 0)
    ends = {0: [1.0, 3.0, 0.0, 0.0], -1: [3.0, 1.0, 0.0, 0.0]}
    entered = []
    for cost in (dfx.Cost.keep_out((2.95, 2.6), 0.35, 0.0), dfx.Cost.keep_out((2.95, 2.6), 0.35, 3000.0)):
        plans = dfx.Planner(dfx.load("maze2d-umaze"), cost=cost, guide=guide, batch_size=4, seed=3).plan(ends)
        entered.append(ball(plans.observations, plans.actions))
    assert (entered[0] > 1).all() and entered[1].mean() < 0.1 * entered[0].mean()


@needs_engine
def test_with_a_budget_a_prefix_and_a_copy():
    made = planner("cpu", warm_start=2)
    plans = made.plan({0: OBS}, number=1, budget_ms=0.0, prefix=dfx.Prefix(np.full((2, A), 0.1)))
    again = copy.deepcopy(made).plan({0: OBS}, replay=plans.replay, prefix=dfx.Prefix(np.full((2, A), 0.1)))
    assert plans.denoising_steps < made.loop.rows and plans.actions.tobytes() == again.actions.tobytes()
    first, copied = (one.plan({0: OBS}, number=1) for one in (planner("cpu"), copy.deepcopy(made)))
    assert first.actions.tobytes() == copied.actions.tobytes()


def test_alone_it_takes_any_horizon():
    made = planner(valued=False)
    assert made.plan({0: OBS}, horizon=2 * H).actions.shape == (3, 2 * H, A)
    with pytest.raises(ValueError, match="at: time 7 is outside the horizon 4"):
        planner(valued=False, cost=dfx.Cost.waypoint((0, 0), 7)).plan({0: OBS}, horizon=4)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"cost": 3}, TypeError, "cost: expected a Cost, found int"),
        ({"guide": None}, ValueError, "cost: there is no guide to follow it"),
        ({"cost": dfx.Cost.waypoint((0, 0), H)}, ValueError, "at: time 8 is outside the horizon 8"),
        ({"cost": dfx.Cost(dfx.Cost.observation(O))}, ValueError, "cost: observation 4 of plans that hold 4"),
    ],
)
def test_what_is_refused(options, error, sentence):
    with pytest.raises(error, match=sentence):
        planner(**options)
