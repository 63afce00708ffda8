"""The bodies as Gymnasium has them, and pictures of them that show where they are."""

import itertools

import gymnasium
import numpy as np
import pytest

from diffuser_fast.envs import colours
from diffuser_fast.envs.locomotion import BODIES, MAX_EPISODE_STEPS, body_of, is_locomotion, make_body
from diffuser_fast.envs.silhouette import BELOW, GROUND, HEIGHT, SKY, Silhouette, film


@pytest.mark.parametrize("name", BODIES)
def test_sizes_are_the_environments(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env, body = make_body(f"{name}-medium-v2"), BODIES[name]
    assert env.observation_space.shape == (body.observation_dim,) and env.action_space.shape == (body.action_dim,)
    assert (env.action_space.low == -1).all() and (env.action_space.high == 1).all()
    assert env.model.nq == body.nq and gymnasium.spec(body.env_id).max_episode_steps == MAX_EPISODE_STEPS
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(obs[: body.nq - 1], env.data.qpos[1:])  # all positions but x, then speeds
    assert not list(tmp_path.iterdir())  # MuJoCo leaves no log behind


def test_names():
    assert body_of("Hopper-v5") is body_of("hopper-medium-expert-v2") is BODIES["hopper"]
    assert is_locomotion("walker2d") and not is_locomotion("maze2d-umaze")
    with pytest.raises(ValueError, match="expected a body: halfcheetah, hopper, walker2d"):
        body_of("maze2d-umaze")


def states(name, steps=40):
    """qpos [steps + 1, nq] and observations of a body that is shaken."""
    env = make_body(name)
    obs, _ = env.reset(seed=1)
    qpos, seen, rng = [env.data.qpos.copy()], [obs], np.random.default_rng(0)
    for _ in range(steps):
        obs, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape[0]))
        qpos.append(env.data.qpos.copy())
        seen.append(obs)
    return np.array(qpos), np.array(seen)


@pytest.mark.parametrize("name", BODIES)
def test_limbs_are_where_the_simulator_has_them(name):
    env, made = make_body(name), Silhouette(name)
    env.reset(seed=2)
    for _ in range(5):
        env.step(env.action_space.high)
    qpos, qvel = env.data.qpos.copy(), env.data.qvel.copy()
    env.set_state(qpos, qvel)  # computes the kinematics of qpos itself, not of a step ago
    limbs = made.limbs(qpos)
    assert len(limbs) == env.model.ngeom - 1  # all but the floor
    for row, geom in zip(limbs, range(1, env.model.ngeom)):
        half = env.data.geom_xmat[geom].reshape(3, 3) @ [0, 0, env.model.geom_size[geom, 1]]
        centre = env.data.geom_xpos[geom]
        np.testing.assert_allclose(row[:2], (centre - half)[[0, 2]], atol=1e-12)
        np.testing.assert_allclose(row[2:4], (centre + half)[[0, 2]], atol=1e-12)
        assert row[4] == env.model.geom_size[geom, 0]


@pytest.mark.parametrize("name", BODIES)
def test_a_plan_of_what_happened_is_where_it_happened(name):
    """x is the sum of planned speeds: near enough for a picture; all else is in the plan."""
    qpos, seen = states(name)
    ahead = Silhouette(name).planned(qpos[5], seen[5:25])
    np.testing.assert_allclose(ahead[:, 1:], qpos[5:25, 1:])
    assert ahead[0, 0] == qpos[5, 0] and np.abs(ahead[:, 0] - qpos[5:25, 0]).max() < 0.1


def test_pictures_show_body_plan_and_ground():
    made, (qpos, _) = Silhouette("hopper"), states("hopper", 0)
    height, width = 180, 320
    scale, left = height / (HEIGHT + BELOW), qpos[0, 0] - 0.4 * width / (height / (HEIGHT + BELOW))

    def pixel(frame, x, z):
        return tuple(frame[int((HEIGHT - z) * scale), int((x - left) * scale)].tolist())

    far = qpos[0] + [0.8, 0, 0, 0, 0, 0]
    plain, ghost = made.picture(qpos[0], width=width, height=height), made.picture(
        qpos[0], ghosts=[far], width=width, height=height
    )  # fmt: skip
    assert plain.shape == (height, width, 3) and plain.dtype == np.uint8
    x, z = (made.limbs(qpos[0])[0, :2] + made.limbs(qpos[0])[0, 2:4]) / 2  # the middle of the torso
    assert pixel(plain, x, z) == pixel(ghost, x, z) == colours.POINT
    assert pixel(plain, x + 0.8, z) == SKY != pixel(ghost, x + 0.8, z)
    assert pixel(plain, left + 0.51, -0.2) == GROUND


def test_films_have_a_frame_every_so_many_steps():
    qpos, seen = states("hopper", 12)
    plans = np.stack([seen[i : i + 4] for i in range(9)])
    frames = list(film("hopper", qpos, plans, every=4, width=64, height=36))
    assert len(frames) == 3 and frames[0].shape == (36, 64, 3)
    assert any((a != b).any() for a, b in itertools.pairwise(frames))
