"""Locomotion data: recorded steps are what the simulator does, episodes are addressed, processes make no difference."""

import json

import h5py
import numpy as np
import pytest

from diffuser_fast.control import behavior
from diffuser_fast.control.behavior import actors_of, default_steps, episode, record
from diffuser_fast.data import load_dataset, load_stream
from diffuser_fast.envs.locomotion import MAX_EPISODE_STEPS, make_body

LEVELS = [f"hopper-{level}" for level in behavior.LEVELS]


def test_every_step_is_the_simulators(tmp_path):
    """Set the recorded state, apply the recorded action: the recorded reward and next observation follow."""
    record("hopper-medium", 400, tmp_path / "x.hdf5", seed=3)
    with h5py.File(tmp_path / "x.hdf5") as file:
        rows = {name: file[name][()] for name in ("observations", "actions", "rewards", "next_observations")}
        qpos, qvel, terminals = file["infos/qpos"][()], file["infos/qvel"][()], file["terminals"][()]
    assert (np.abs(rows["actions"]) <= 1).all() and rows["actions"].std() > 0.1
    env = make_body("hopper")
    env.reset(seed=0)
    for i in (0, 1, 57, 200):
        env.set_state(qpos[i].astype(np.float64), qvel[i].astype(np.float64))
        np.testing.assert_allclose(rows["observations"][i], env._get_obs(), atol=1e-6)
        obs, reward, terminated, _, _ = env.step(rows["actions"][i])
        # float32 of the file against the simulator's float64: contacts are stiff
        np.testing.assert_allclose(rows["next_observations"][i], obs, rtol=1e-3, atol=1e-3)
        assert reward == pytest.approx(rows["rewards"][i], abs=1e-3) and terminated == terminals[i]


def test_shares_ends_and_attributes(tmp_path):
    made = record("hopper-medium-expert", 3001, tmp_path / "x.hdf5", seed=1)
    stream = load_stream(tmp_path / "x.hdf5")
    actor = stream.infos["actor"]
    assert len(stream) == 3001 and (actor[:1500] == 0).all() and (actor[1500:] == 1).all()
    ends = stream.terminals | stream.timeouts
    assert ends[1499] and ends[-1] and not (stream.terminals & stream.timeouts).any()
    episodes = load_dataset(tmp_path / "x.hdf5")
    assert episodes.lengths.sum() == 3001 and episodes.lengths.max() <= MAX_EPISODE_STEPS
    # The mean return is that of whole episodes: not of those the two shares cut.
    cut = np.cumsum(episodes.lengths)
    whole = [i for i in range(len(episodes)) if cut[i] not in (1500, 3001) or episodes.terminated[i]]
    starts = episodes.starts
    returns = [episodes.rewards[starts[i] : cut[i]].sum(dtype=np.float64) for i in whole]
    assert made["episodes"] == len(whole) > 1 and made["mean_return"] == pytest.approx(np.mean(returns), rel=1e-6)
    assert made["env_id"] == "hopper-medium-expert" and made["environment"] == "Hopper-v5"
    by_actor = json.loads(made["actors"])
    assert list(by_actor) == ["medium", "expert"]
    assert sum(a["episodes"] for a in by_actor.values()) == len(whole)


def test_any_number_of_processes_writes_the_same(tmp_path):
    one = record("hopper-medium-replay", 4000, tmp_path / "one.hdf5", seed=5)
    two = record("hopper-medium-replay", 4000, tmp_path / "two.hdf5", seed=5, workers=2)
    other = record("hopper-medium-replay", 4000, tmp_path / "three.hdf5", seed=6)
    assert one == two and one["mean_return"] != other["mean_return"]
    with h5py.File(tmp_path / "one.hdf5") as a, h5py.File(tmp_path / "two.hdf5") as b:
        names = [name for name in a if name != "infos"] + [f"infos/{name}" for name in a["infos"]]
        assert len(names) == 9
        for name in names:
            np.testing.assert_array_equal(a[name][()], b[name][()], err_msg=name)


def test_an_episode_does_not_depend_on_what_came_before():
    env, (_, actor) = make_body("hopper"), actors_of("hopper-medium")[0]
    first = episode(env, actor, np.random.SeedSequence([0, 0, 4]))
    episode(env, actor, np.random.SeedSequence([0, 0, 5]))
    again = episode(env, actor, np.random.SeedSequence([0, 0, 4]))
    np.testing.assert_array_equal(first["observations"], again["observations"])


def test_sizes_are_d4rls():
    assert [default_steps(n) for n in LEVELS] == [1_000_000, 1_000_000, 400_000, 2_000_000]
    assert default_steps("walker2d-medium-replay") == 300_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hopper", 100), "found 'hopper', expected a data set that is made here: hopper-medium, "),
        (("hopper-random", 100), "found 'hopper-random'"),
        (("maze2d-umaze", 100), "expected a body"),
        (("hopper-medium-replay", 9), "n_steps: found 9, expected a whole number, at least 10"),
    ],
)
def test_refusals(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        record(*arguments, tmp_path / "x.hdf5")
    assert not list(tmp_path.iterdir())


def test_an_interrupt_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record("hopper-medium", 3000, tmp_path / "x.hdf5", progress=stop)
    assert not list(tmp_path.iterdir())
