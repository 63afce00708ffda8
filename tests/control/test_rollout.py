"""Closed loops: the controllers' dynamics, episodes that do not depend on their neighbours, horizons that shrink."""

from dataclasses import replace

import numpy as np
import pytest

from diffuser_fast import Planner
from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.control import rollout as rollout_module
from diffuser_fast.control.rollout import goal_conditions, horizon_left, rollout
from diffuser_fast.control.tracking import inverse_dynamics_action, waypoint_action
from diffuser_fast.core.normalizers import Limits, Normalizers
from diffuser_fast.core.spec import UNetSpec
from diffuser_fast.envs import make, normalized_score

# A random planner's limits are not the maze's.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the data's limits")


def planner(**options):
    spec = UNetSpec(32, 6, dim=16, dim_mults=(1, 2))
    whole_maze = Normalizers(Limits([0, 0, -6, -6], [5, 5, 6, 6]), Limits([-1, -1], [1, 1]))
    checkpoint = replace(random_checkpoint(spec, n_train=3, clip_denoised=True), normalizers=whole_maze)
    return Planner(checkpoint, "cpu", threads=1, **options)


def test_waypoint_action_is_the_papers():
    obs = np.array([[1.0, 2.0, 0.5, -0.5]])
    plan = np.array([[[1, 2, 0, 0], [1.1, 2.2, 0.7, 0.1], [1.3, 2.1, 0.2, 0.4]]], np.float32)
    np.testing.assert_allclose(waypoint_action(obs, plan, 0), [[0.1 + 0.2, 0.2 + 0.6]], atol=1e-6)
    np.testing.assert_allclose(waypoint_action(obs, plan, 1), [[0.3 - 0.3, 0.1 + 0.9]], atol=1e-6)
    # After the end: the last position, at rest.
    np.testing.assert_allclose(waypoint_action(obs, plan, 2), [[0.3 - 0.5, 0.1 + 0.5]], atol=1e-6)


def test_inverse_dynamics_reaches_the_planned_state_in_one_step():
    """A plan that one force can follow is followed: position and velocity of the real simulation agree."""
    env = make("maze2d-umaze")
    env.reset(seed=0)
    obs = env.set_state((1.0, 2.0), (1.0, 0.5))
    velocity = np.array([1.15, 0.42])
    plan = np.stack([obs, np.concatenate((obs[:2] + 0.01 * velocity, velocity))])[None]
    action = inverse_dynamics_action(obs[None], plan, 0)[0]
    assert np.abs(action).max() < 1
    after, *_ = env.step(action)
    np.testing.assert_allclose(after, plan[0, 1], atol=1e-9)


def test_goal_conditions():
    obs, targets = np.arange(8.0).reshape(2, 4), np.array([[1.0, 1.0], [3.0, 2.0]])
    given = goal_conditions(obs, targets)
    assert set(given) == {0, -1} and given[0] is obs
    np.testing.assert_array_equal(given[-1], [[1, 1, 0, 0], [3, 2, 0, 0]])


def test_horizons_shrink_in_steps_the_network_can_take():
    p = planner()
    found = [horizon_left(p, step) for step in range(40)]
    assert found[:4] == [32, 32, 30, 30] and found[24] == 8 and found[25:] == [None] * 15
    assert all(h is None or (h % 2 == 0 and h >= 32 - step) for step, h in enumerate(found))


def test_an_episode_does_not_depend_on_its_neighbours():
    """Episode e starts from seed + e however many run together; with the same noise it is the same episode."""
    alone = rollout(planner(), "maze2d-umaze", episodes=1, seed=5, together=1)
    beside = rollout(planner(), "maze2d-umaze", episodes=3, seed=5, together=3)
    np.testing.assert_array_equal(alone.observations[0], beside.observations[0])
    assert beside.observations.shape == (3, 301, 4) and beside.plans.shape == (3, 32, 4)
    assert len({tuple(start) for start in beside.observations[:, 0]}) == 3


def test_scores_and_summary():
    found = rollout(planner(), "multi2d-umaze", episodes=3, seed=1, together=2)
    near = np.linalg.norm(found.observations[:, 1:, :2] - found.targets[:, None], axis=2) <= 0.5
    np.testing.assert_array_equal(found.returns, near.sum(axis=1))
    np.testing.assert_allclose(found.scores, [normalized_score("maze2d-umaze", r) for r in found.returns])
    summary = found.summary()
    assert summary["score"] == pytest.approx(found.scores.mean())
    assert summary["standard_error"] == pytest.approx(found.scores.std(ddof=1) / np.sqrt(3))
    assert summary["plans"] == 3 and summary["plans_per_call"] == 2


def test_planning_again_plans_to_the_horizon_that_is_left():
    p, asked = planner(), []
    plain = p.plan
    p.plan = lambda conditions, *, horizon, number: asked.append(horizon) or plain(conditions, horizon=horizon)
    found = rollout(p, "maze2d-umaze", episodes=2, replan=5, together=2)
    assert asked == [32, 28, 22, 18, 12] and found.summary()["plans"] == 10


def test_progress_counts_every_step():
    seen = []
    rollout(planner(), "maze2d-umaze", episodes=3, together=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 600) for i in range(600)]


def test_a_planner_of_another_environment_is_refused():
    p = Planner(
        random_checkpoint(UNetSpec(16, 14, dim=16, dim_mults=(1, 2)), n_train=2, action_dim=3), "cpu", threads=1
    )
    with pytest.raises(ValueError, match="4 observations and 2 actions"):
        rollout(p, "maze2d-umaze", episodes=1)
    with pytest.raises(ValueError, match="found 'hopper-medium-v2', which is not a maze"):
        rollout(p, "hopper-medium-v2", episodes=1)
    with pytest.raises(ValueError, match="at least 1"):
        rollout_module.rollout(planner(), "maze2d-umaze", episodes=0)


@pytest.mark.parametrize("replan", [None, 10])
def test_scores_do_not_depend_on_how_many_run_together(replan):
    """Nor on which call an episode is part of: its number is its noise."""
    found = [rollout(planner(), "maze2d-umaze", episodes=3, seed=5, together=n, replan=replan) for n in (1, 2, 3)]
    last = rollout(planner(), "maze2d-umaze", episodes=1, seed=7, replan=replan)
    for other in found[1:]:
        np.testing.assert_array_equal(other.observations, found[0].observations)
        np.testing.assert_array_equal(other.returns, found[0].returns)
    np.testing.assert_array_equal(last.observations[0], found[0].observations[2])
    assert not np.array_equal(found[0].plans[0, :, 2:], found[0].plans[1, :, 2:])
    with pytest.raises(ValueError, match="seed: episodes have numbers below 1048576"):
        rollout(planner(), "maze2d-umaze", episodes=2, seed=2**20 - 1)
