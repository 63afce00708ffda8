"""Stacking: the tasks' goals, the costs that guide to them, and an episode of a planner that has learnt nothing."""

import numpy as np
import pytest
from core.interpreter import run
from envs.test_stacking import TOWER, state

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.control import stacking as st
from diffuser_fast.core.cost_network import with_cost
from diffuser_fast.core.passes import vjp
from diffuser_fast.core.spec import UNetSpec
from diffuser_fast.envs.stacking import CUBE, OBSERVATION_DIM, STATE_DIM, Scene, observations, position

APART = state(*(((0.3 + 0.07 * i, 0.1 * i - 0.15, 0.02), 0.1) for i in range(4)))


def checkpoint(**options):
    net = UNetSpec(16, OBSERVATION_DIM, dim=16, dim_mults=(1, 2))
    return c.random_checkpoint(net, **{"action_dim": 0, "n_train": 4, **options})


def test_goals():
    rng = np.random.default_rng(0)
    for task in st.TASKS:
        episode = st.Episode.drawn(task, APART, rng)
        assert sorted(episode.order) == [0, 1, 2, 3] and not any(episode.done(APART))
    tower = st.Episode("unconditional", np.arange(4), np.zeros((3, 3)))
    assert tower.done(TOWER) == [True, True, False]
    goal = tower.goal(TOWER)
    assert goal.on == 0 and goal.cube is None
    np.testing.assert_allclose(goal.place, [0.4, 0.1, 0.14])
    order = st.Episode("conditional", np.array([1, 2, 0, 3]), np.zeros((3, 3)))
    assert order.done(TOWER) == [True, True, False] and (order.goal(TOWER).cube, order.goal(TOWER).on) == (3, 0)
    places = np.array([[0.4, 0.1, 0.11], [0.4, -0.2, 0.02], [0.4, -0.2, 0.06]])
    moved = st.Episode("rearrangement", np.arange(4), places)
    assert moved.done(TOWER) == [True, False, False] and moved.goal(TOWER).cube == 1
    np.testing.assert_array_equal(moved.goal(TOWER).place, places[1])


def test_costs_are_zero_where_the_tower_stands():
    plan = np.tile(TOWER, (16, 1))
    named = plan[:, [*range(7), *(7 + 5 * i + j for i in (2, 0, 1, 3) for j in range(5))]]  # cube 1 on cube 0
    named[0, position(1)] = 0.5, 0.2, 0.02  # where it was
    none = np.zeros((16, 0))
    for task, cost in st.costs(16).items():
        assert cost(observations(named), none) == pytest.approx(8 * st.WEIGHT * 0.01**2, rel=1e-3), task
        first = named.copy()
        first[1:8, position(1)] += 0.1
        assert cost(observations(first), none) == pytest.approx(cost(observations(named), none)), (
            "the first half is free"
        )
        away = named.copy()
        away[8:, position(1)] += (0.1, 0, 0)
        assert cost(observations(away), none) > 10 * cost(observations(named), none)


@pytest.mark.parametrize("task", ["unconditional", "conditional"])
def test_gradients_are_differences(task):
    """The guide's gradient, of the network that engines run, against differences of the formula."""
    ckpt, cost = checkpoint(), st.costs(16)[task]
    program, weights = with_cost(None, cost, ckpt, 16)
    x = np.random.default_rng(3).normal(size=(1, 16, OBSERVATION_DIM)) * 0.3
    inputs = {"x": x.transpose(0, 2, 1), "dy": np.ones((1, 1, 1))}
    found = run(vjp(program), {name: array.astype(np.float64) for name, array in weights.items()}, inputs)["dx"]

    def worth(x):
        return -cost(ckpt.normalizers.observations.unnormalize(x), np.zeros((1, 16, 0)))[0]

    differences = {}
    for t in (9, 15):
        for d in (*range(7, 10), *range(12, 15), *range(17, 20), *range(27, 30), 0, 10):
            step = np.zeros_like(x)
            step[0, t, d] = 1e-5
            differences[t, d] = (worth(x + step) - worth(x - step)) / 2e-5
            assert found[0, d, t] == pytest.approx(differences[t, d], rel=1e-4, abs=1e-4), (t, d)
    assert not found[0, :, :8].any() and max(map(abs, differences.values())) > 0.1


def test_a_given_place_is_in_the_plan(monkeypatch):
    monkeypatch.setattr(st, "SETTLED", 12)
    stacker = st.Stacker(checkpoint(), "rearrangement")
    goal = st.Goal(2, None, np.array([0.4, 0.1, CUBE / 2]))
    plan, ms = stacker.plan(APART, goal, 5)
    np.testing.assert_allclose(plan[12:, position(0)], np.tile(goal.place, (4, 1)), atol=1e-6)
    assert ms > 0 and plan.shape == (16, STATE_DIM)
    np.testing.assert_allclose(plan[0, position(0)], APART[position(2)], atol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="checkpoint: it was trained for 4 observations and 2 actions; stacking has"):
        st.Stacker(dfx.load("maze2d-umaze"), "conditional")
    with pytest.raises(ValueError, match="task: found 'juggling', expected one of unconditional, conditional"):
        st.Stacker(checkpoint(), "juggling")
    with pytest.raises(ValueError, match="task: found 'juggling'"):
        st.rollout_stacking(None, "juggling")


def test_an_episode():
    pytest.importorskip("ogbench")
    stacker = st.Stacker(checkpoint(), "conditional", batch_size=2)
    one, two = (st.rollout_stacking(stacker, "conditional", episodes=1, seed=3) for _ in range(2))
    assert one.placements.shape == (1, 3) and one.plans.shape == (3, 16, STATE_DIM)
    assert one.states.shape == (1 + 3 * 15, STATE_DIM)
    np.testing.assert_array_equal(one.states, two.states)
    assert one.summary()["score"] == 100 * one.placements.mean() and one.summary()["plans"] == 3
    assert np.linalg.norm(one.states[-1, :3] - one.states[0, :3]) > 0.02, "the arm follows"


def test_the_oracle_places():
    pytest.importorskip("ogbench")
    found = [st.rollout_stacking(None, task, episodes=1, seed=1).placements.sum() for task in st.TASKS]
    assert sum(found) >= 8
    assert Scene().reset(np.random.default_rng(0)).shape == (STATE_DIM,)
