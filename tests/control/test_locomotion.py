"""Closed loops of the bodies: what is executed, what is counted, and that episodes stand alone."""

import numpy as np
import pytest

from diffuser_fast import Guide, Planner
from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.control.locomotion import rollout_body
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.envs import normalized_score
from diffuser_fast.envs.locomotion import make_body

SIZES = {"dim": 16, "dim_mults": (1, 2)}


def planner(horizon=8, depth=14, **options):
    checkpoint = random_checkpoint(
        UNetSpec(horizon, depth, **SIZES), ValueSpec(horizon, depth, dim=32, dim_mults=(1, 2)),
        action_dim=3 if depth == 14 else 6, n_train=3,
    )  # fmt: skip
    return Planner(checkpoint, "cpu", threads=1, batch_size=2, **options)


def test_an_episode_is_the_loop_written_out():
    """Plan, take the best plan's first action within the motors' range, until the body falls."""
    result, p, env = rollout_body(planner(), "hopper", episodes=1, seed=3), planner(), make_body("hopper")
    obs, _ = env.reset(seed=3)
    p.reset(3)
    total, steps = 0.0, 0
    terminated = False
    while not terminated and steps < 1000:
        action = p.act(obs)
        obs, reward, terminated, _, _ = env.step(action.clip(-1, 1))
        total, steps = total + reward, steps + 1
    assert result.returns[0] == pytest.approx(total, rel=1e-12) and result.lengths[0] == steps < 1000
    assert result.qpos.shape == (steps + 1, 6) and result.plans.shape == (steps, 8, 11)
    np.testing.assert_array_equal(result.qpos[-1], env.data.qpos)
    assert len(result.latency_ms) == steps


@pytest.mark.parametrize("warm", [None, 2])
def test_episodes_are_addressed_by_their_seed(warm):
    """Two runs of one episode are one run of two: noise, start and warm start belong to the episode."""
    both = rollout_body(planner(warm_start=warm), "hopper-medium", episodes=2, seed=7)
    parts = [rollout_body(planner(warm_start=warm), "hopper-medium", episodes=1, seed=s) for s in (7, 8)]
    assert both.returns.tolist() == [part.returns[0] for part in parts]
    assert both.returns[0] != both.returns[1]


def test_warm_starts_are_used():
    cold, warm = (
        rollout_body(planner(warm_start=k), "hopper", episodes=1, seed=1, max_steps=5).plans for k in (None, 1)
    )
    np.testing.assert_array_equal(cold[0], warm[0])  # nothing to start from yet
    assert np.abs(cold[1] - warm[1]).max() > 1e-3


def test_summary():
    result = rollout_body(planner(guide=Guide(n_steps=0)), "hopper", episodes=3, max_steps=4)
    found = result.summary()
    assert found["returns"] == [round(r, 3) for r in result.returns.tolist()] and found["episodes"] == 3
    assert found["return"] == pytest.approx(result.returns.mean())
    assert found["score"] == pytest.approx(normalized_score("hopper", found["return"]))
    assert found["return_standard_error"] == pytest.approx(result.returns.std(ddof=1) / 3**0.5)
    assert found["length"] == 4 and found["plans"] == 12
    assert rollout_body(planner(), "hopper", episodes=1, max_steps=1).summary()["standard_error"] is None


@pytest.mark.parametrize("body", ["walker2d", "halfcheetah"])
def test_other_bodies(body):
    result = rollout_body(planner(depth=23), body, episodes=1, max_steps=3)
    assert result.plans.shape == (3, 8, 17) and np.isfinite(result.returns).all()


def test_refusals():
    with pytest.raises(ValueError, match=r"Walker2d-v5 has 17 observations and 6 actions; .* for 11 and 3"):
        rollout_body(planner(), "walker2d")
    with pytest.raises(ValueError, match="expected a body"):
        rollout_body(planner(), "maze2d-umaze")
    with pytest.raises(ValueError, match="episodes, max_steps: found 0"):
        rollout_body(planner(), "hopper", episodes=0)
