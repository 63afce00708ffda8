"""Episodes over processes and jobs: the same episodes as in one process, to the bit."""

import sys

import numpy as np
import pytest

from diffuser_fast import Planner
from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.control.locomotion import rollout_body
from diffuser_fast.control.rollout import rollout
from diffuser_fast.control.shards import sharded, split
from diffuser_fast.core.spec import UNetSpec, ValueSpec

SIZES = {"dim": 16, "dim_mults": (1, 2)}


def body_planner(**options):
    checkpoint = random_checkpoint(
        UNetSpec(8, 14, **SIZES), ValueSpec(8, 14, dim=32, dim_mults=(1, 2)), action_dim=3, n_train=3
    )
    return Planner(checkpoint, "cpu", threads=1, batch_size=2, warm_start=2, **options)


def maze_planner():
    return Planner(
        random_checkpoint(UNetSpec(16, 6, **SIZES), action_dim=2, n_train=3), "cpu", threads=1,
        precision="float32-close",
    )  # fmt: skip


def same(one, other, names):
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_body_s_episodes(workers):
    whole = rollout_body(body_planner(), "hopper", episodes=3, seed=5, max_steps=4)
    told = []
    parts = sharded(
        body_planner(), "hopper", episodes=3, seed=5, max_steps=4, workers=workers,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    same(whole, parts, ("returns", "lengths", "qpos", "plans"))
    assert len(parts.latency_ms) == 12 and parts.seed == 5 and told[-1] == (3, 3)


def test_a_maze_s_episodes_keep_what_is_planned_together():
    """float32-close depends on the batch: groups are those of one process."""
    whole = rollout(maze_planner(), "maze2d-umaze", episodes=5, seed=3, together=2)
    parts = sharded(maze_planner(), "maze2d-umaze", episodes=5, seed=3, together=2, workers=2)
    same(whole, parts, ("returns", "scores", "observations", "targets", "plans", "situations"))


def test_jobs_of_submitit(tmp_path):
    """Through its local executor: processes that are started, and answer, as jobs of a cluster are."""
    pytest.importorskip("submitit")
    whole = rollout_body(body_planner(), "hopper", episodes=3, max_steps=3)
    parts = sharded(
        body_planner(), "hopper", episodes=3, max_steps=3, workers=2, cluster="local", folder=tmp_path,
        cluster_options={"timeout_min": 5},
    )  # fmt: skip
    same(whole, parts, ("returns", "lengths", "qpos", "plans"))
    assert len([*tmp_path.glob("*_result.pkl")]) == 2


def test_without_submitit_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ImportError, match=r"cluster: .* pip install diffuser-fast\[cluster\]"):
        sharded(body_planner(), "hopper", episodes=1, cluster="slurm")


def test_a_shard_s_error_is_raised_here():
    with pytest.raises(ValueError, match="17 observations"):
        sharded(body_planner(), "walker2d", episodes=2, workers=2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workers": 0}, "workers: found 0, expected a whole number at least 1"),
        ({"cluster": "moon"}, "cluster: found 'moon', expected one of slurm, local, debug"),
        ({"cluster_options": {"timeout_min": 3}}, "cluster_options: found timeout_min, but no cluster"),
        ({"cluster": "debug", "cluster_options": {"colour": "red"}}, "cluster_options: submitit"),
        ({"episodes": 0}, "episodes: found 0"),
    ],
)
def test_refusals(options, sentence):
    if "colour" in options.get("cluster_options", {}):
        pytest.importorskip("submitit")
    with pytest.raises(ValueError, match=sentence):
        sharded(body_planner(), "hopper", **{"episodes": 1, **options})


@pytest.mark.parametrize(("episodes", "most"), [(1, 1), (7, 3), (3, 7), (50, 50), (100, 8)])
def test_every_episode_is_in_one_shard(episodes, most):
    for env, options in (("hopper", {}), ("maze2d-umaze", {"together": 4}), ("maze2d-umaze", {})):
        shards = split(env, episodes, 10, most, options)
        assert [s.seed + e for s in shards for e in range(s.episodes)] == list(range(10, 10 + episodes))
        assert len(shards) <= most and all(s.episodes for s in shards)
        size = options.get("together", 25) if env != "hopper" else 1
        assert all((s.seed - 10) % size == 0 for s in shards)
