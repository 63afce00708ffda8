"""The Gymnasium side of Maze2D: rewards, resets, seeds, caps, targets, errors."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import diffuser_fast.envs as envs
from diffuser_fast.envs.layouts import LAYOUTS
from diffuser_fast.envs.maze2d import Maze2dEnv, make, register

NAMES = [f"diffuser_fast/{f}-{v}-v1" for f in ("maze2d", "multi2d") for v in LAYOUTS]


@pytest.mark.parametrize("env_id", NAMES)
def test_registered_with_the_right_cap(env_id):
    env = gymnasium.make(env_id)
    cap = {"umaze": 300, "medium": 600, "large": 800}[env_id.split("-")[1]]
    assert env.spec.max_episode_steps == cap == env.unwrapped.max_episode_steps
    env.reset(seed=0)
    targets = {tuple(env.unwrapped.target)}
    env.reset()
    targets.add(tuple(env.unwrapped.target))
    assert len(targets) == (2 if "multi2d" in env_id else 1)
    ended = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(cap)]
    assert ended == [(False, False)] * (cap - 1) + [(False, True)]


@pytest.mark.filterwarnings("ignore:.*Box observation space (min|max)imum value")  # as in D4RL
def test_gymnasium_finds_no_fault():
    check_env(Maze2dEnv("medium", random_target=True, render_mode="rgb_array"), skip_render_check=True)


def test_registering_twice_is_harmless():
    before = gymnasium.registry[NAMES[0]]
    register()
    assert gymnasium.registry[NAMES[0]] is before


def test_reward_begins_at_half_a_cell():
    env = Maze2dEnv("umaze")
    env.set_target([1.0, 2.0])
    for offset, reward in ((0.499, 1.0), (0.501, 0.0), (-0.499, 1.0), (-0.501, 0.0)):
        env.set_state([1.0, 2.0 + offset])
        obs, got, terminated, truncated, info = env.step([0.0, 0.0])
        assert got == reward and info == {"success": bool(reward)}
        assert not terminated and not truncated
        assert obs.dtype == np.float64 and obs.tolist() == [1.0, 2.0 + offset, 0.0, 0.0]


def test_reward_is_a_disc_and_not_a_square():
    env = Maze2dEnv("umaze")
    env.set_target([0.7, 0.7])
    env.set_state([1.1, 1.1])  # 0.4 off on both axes: 0.566 away
    assert env.step([0.0, 0.0])[1] == 0.0


def test_reset_lands_near_free_cells_with_small_velocity():
    env = Maze2dEnv("medium")
    obs = np.array([env.reset(seed=s)[0] for s in range(2000)])
    cells = np.rint(obs[:, :2]).astype(int)
    offsets, velocities = obs[:, :2] - cells, obs[:, 2:]
    assert {tuple(t) for t in cells.tolist()} == set(LAYOUTS["medium"].free_cells)
    assert 0.098 < np.abs(offsets).max() <= 0.1
    assert offsets.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)
    assert velocities.std() == pytest.approx(0.1, rel=0.05)
    assert abs(velocities.mean()) < 0.01


def test_seeds_reproduce_and_differ():
    def episode(seed):
        env = make("multi2d-large")
        first = [env.reset(seed=seed)[0], env.target]
        return np.concatenate(first + [env.step([0.5, -0.5])[0] for _ in range(20)] + [env.reset()[0], env.target])

    assert (episode(3) == episode(3)).all()
    assert (episode(3)[:6] != episode(4)[:6]).all()


def test_maze2d_keeps_its_target_and_multi2d_draws_one():
    single, multi = make("maze2d-umaze"), make("multi2d-umaze")
    targets = []
    for seed in range(300):
        single.reset(seed=seed)
        multi.reset(seed=seed)
        assert single.target.tolist() == [1.0, 1.0]
        targets.append(multi.target)
    cells = np.rint(targets)
    assert {tuple(t) for t in cells.astype(int).tolist()} == set(LAYOUTS["umaze"].free_cells)
    assert 0.09 < np.abs(targets - cells).max() <= 0.1
    single.set_target([3.0, 3.0])
    single.reset()
    assert single.target.tolist() == [3.0, 3.0]


def test_the_target_is_a_copy():
    env = make("maze2d-umaze")
    env.target[:] = 9.0
    assert env.target.tolist() == [1.0, 1.0]


def test_options_set_one_quantity_and_leave_the_draws_of_others():
    env = make("multi2d-medium")
    plain, _ = env.reset(seed=5)
    plain_target = env.target
    obs, _ = env.reset(seed=5, options={"qpos": [1.0, 1.0]})
    assert obs.tolist() == [1.0, 1.0, *plain[2:]] and (env.target == plain_target).all()
    obs, _ = env.reset(seed=5, options={"qvel": [0.0, 0.0], "target": [6.0, 6.0]})
    assert obs.tolist() == [*plain[:2], 0.0, 0.0] and env.target.tolist() == [6.0, 6.0]


def test_a_returned_observation_is_not_overwritten():
    env = make("maze2d-umaze")
    obs, _ = env.reset(seed=0)
    kept = obs.copy()
    after = env.step([1.0, 1.0])[0]
    assert (obs == kept).all() and (env.observation() == after).all()


def test_render_shows_the_point_where_it_is():
    env = Maze2dEnv("umaze", render_mode="rgb_array")
    env.set_state([2.8, 0.8])  # the centre of cell (3, 1)
    frame = env.render()
    cell = frame.shape[0] // 5
    assert frame.dtype == np.uint8 and frame.shape == (5 * cell, 5 * cell, 3)
    centre = frame[int(3.5 * cell), int(1.5 * cell)]
    assert centre.max() < 40
    assert Maze2dEnv("umaze").render() is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.step([np.nan, 0.0]), "action: found .*not NaN"),
        (lambda e: e.step([0.0]), "action: found .*two numbers"),
        (lambda e: e.step(0.0), "action: found 0.0, expected two numbers"),
        (lambda e: e.set_target([1.0, np.inf]), "target: found .*2 finite numbers"),
        (lambda e: e.set_state([1.0, 2.0, 3.0]), "qpos: found .*2 finite numbers"),
        (lambda e: e.set_state([1.0, 2.0], [np.nan, 0.0]), "qvel: found .*2 finite numbers"),
        (lambda e: e.reset(options={"speed": 3}), r"options: found \['speed'\]"),
        (lambda e: Maze2dEnv("umaze", render_mode="human"), "render_mode: found 'human'"),
        (lambda e: make("hopper-medium-v2"), "env_id: found 'hopper-medium-v2', which is not a maze"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call(make("maze2d-umaze"))


def test_scores_work_without_gymnasium_and_the_environment_names_the_cure():
    program = (
        "import sys; sys.modules['mujoco'] = None; sys.modules['gymnasium'] = None\n"
        "from diffuser_fast.envs.scores import normalized_score; normalized_score('maze2d-umaze', 1.0)\n"
        "import diffuser_fast.envs as envs; envs.layout_of('umaze')\n"
        "try: envs.Maze2dEnv\n"
        "except ImportError as error: assert 'diffuser-fast[envs]' in str(error); print('cure')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "cure\n"


def test_importing_the_package_loads_no_mujoco():
    program = "import sys, diffuser_fast.envs; assert not {'mujoco', 'matplotlib', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_is_there():
    assert all(getattr(envs, name) is not None for name in envs.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        envs.nothing
