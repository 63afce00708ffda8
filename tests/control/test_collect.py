"""Recorded Maze2D data: the controller obeys its law and gets there, the file is D4RL's, seeds decide everything."""

import collections

import h5py
import numpy as np
import pytest

from diffuser_fast.control.collect import STEPS_AT_ONCE, collect
from diffuser_fast.control.waypoints import WaypointController, cell_values
from diffuser_fast.data import load_dataset, load_stream
from diffuser_fast.envs import make
from diffuser_fast.envs.layouts import LAYOUTS, Layout
from diffuser_fast.envs.physics import PointMass


@pytest.fixture(scope="module", params=list(LAYOUTS))
def recorded(request):
    """(layout, a stream of 10,000 steps in it)"""
    return LAYOUTS[request.param], collect(f"maze2d-{request.param}-v1", 10_000, seed=11)


def distances(layout, target):
    """Steps from every free cell to `target`, by breadth-first search."""
    out, queue = {target: 0}, collections.deque([target])
    while queue:
        w, h = queue.popleft()
        for cell in ((w + 1, h), (w - 1, h), (w, h + 1), (w, h - 1)):
            if layout.is_free(cell) and cell not in out:
                out[cell] = out[w, h] + 1
                queue.append(cell)
    return out


@pytest.mark.parametrize("name", LAYOUTS)
def test_paths_are_shortest_and_connected(name):
    layout = LAYOUTS[name]
    controller = WaypointController(layout, np.random.default_rng(0))
    for target in layout.free_cells:
        expected = distances(layout, target)
        assert set(expected) == set(layout.free_cells)
        for start in layout.free_cells:
            path = controller.path(start, target)
            assert len(path) == max(expected[start], 1) and path[-1] == target
            steps = np.diff(np.array([start, *path]), axis=0)
            assert start == target or (np.abs(steps).sum(1) == 1).all()
            assert all(layout.is_free(cell) for cell in path)


def test_values_are_powers_of_the_discount():
    layout = LAYOUTS["large"]
    values = cell_values(layout, (7, 9))
    for cell, steps in distances(layout, (7, 9)).items():
        assert values[cell] == pytest.approx(0.99**steps, rel=1e-12)
    assert not values[layout.walls].any()


def test_an_unreachable_target_is_an_error():
    controller = WaypointController(Layout.from_string("two", "#####/#O#O#/#####", 9), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"target: found cell \(1, 3\), which cannot be reached from cell \(1, 1\)"):
        controller.aim(1.0, 1.0, 1.0, 3.0)


def test_waypoints_are_jittered_downwards_except_the_last():
    controller = WaypointController(LAYOUTS["umaze"], np.random.default_rng(0))
    offsets = []
    for _ in range(500):
        controller.aim(1.0, 1.0, 3.05, 0.95)
        cells = [(1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1)]
        offsets.append(np.array(controller._waypoints) - cells)
    offsets = np.array(offsets)
    assert not offsets[:, -1].any()
    jitter = offsets[:, :-1]
    assert -0.2 <= jitter.min() < -0.199 and -0.001 < jitter.max() <= 0.0
    assert jitter.mean() == pytest.approx(-0.1, abs=0.003)


def test_the_control_law():
    controller = WaypointController(LAYOUTS["umaze"], np.random.default_rng(0))
    controller.aim(1.0, 1.0, 1.0, 1.0)
    assert controller.act(0.95, 1.02, 0.1, -0.3) == (pytest.approx(0.4), pytest.approx(0.1), True)
    assert controller.act(0.5, 1.3, 0.0, 0.0)[:2] == (1.0, -1.0)
    assert not controller.act(0.5, 1.3, 0.0, 0.0)[2]
    assert not controller.act(0.95, 1.0, 0.0, 0.0)[2]  # near, but it has just jumped there by 0.5
    assert controller.act(0.95, 1.0, 0.0, 0.0)[2]


def test_a_point_near_a_wall_still_gets_a_path():
    """(0.45, 0.45) rounds to the wall cell (0, 0), yet lies in cell (1, 1)."""
    controller = WaypointController(LAYOUTS["umaze"], np.random.default_rng(0))
    controller.aim(0.45, 0.45, 1.0, 3.0)
    assert np.rint(np.array(controller._waypoints) + 0.1).tolist() == [[1, 2], [1, 3]]


def test_fields_are_d4rls(recorded):
    layout, stream = recorded
    shapes = {"observations": (10_000, 4), "actions": (10_000, 2), "rewards": (10_000,)}
    for name, shape in shapes.items():
        assert getattr(stream, name).shape == shape and getattr(stream, name).dtype == np.float32
    assert not stream.terminals.any() and not stream.timeouts.any()
    assert (stream.infos["qpos"] == stream.observations[:, :2]).all()
    assert (stream.infos["qvel"] == stream.observations[:, 2:]).all()
    assert np.abs(stream.actions).max() == 1.0
    attributes = dict(stream.attributes)
    assert attributes.pop("default_goal").tolist() == list(layout.goal_cell)
    assert attributes.pop("successes") > 0 and attributes.pop("version")
    assert attributes == {
        "env_id": f"maze2d-{layout.name}-v1",
        "seed": 11,
        "n_steps": 10_000,
        "recipe": "waypoint-pd-2",
        "noisy": False,
    }


def test_rewards_are_the_tasks_own(recorded):
    """Those that the environment would have given for the same actions, at its default goal."""
    layout, stream = recorded
    env = make(f"maze2d-{layout.name}")
    env.reset(seed=0)
    for i in range(0, 10_000, 7):
        env.set_state(stream.infos["qpos"][i], stream.infos["qvel"][i])
        state, reward, *_ = env.step(stream.actions[i])
        near = np.hypot(*(state[:2] - layout.default_goal)) - 0.5
        assert abs(near) < 1e-5 or reward == stream.rewards[i]  # on the circle itself float32 decides
    assert 0 < stream.rewards.mean() < 0.5


def test_the_controller_reaches_its_goals(recorded):
    """Successes per 10,000 steps, and hardly ever a target given up at the cap."""
    layout, stream = recorded
    goals = stream.infos["goal"]
    changes = np.flatnonzero((goals[1:] != goals[:-1]).any(1))
    expected = {"umaze": 130, "medium": 65, "large": 42}[layout.name]
    assert 0.75 * expected < stream.attributes["successes"] < 1.3 * expected
    assert len(changes) - stream.attributes["successes"] in (-1, 0)  # every change of target is a success
    miss = np.abs(stream.observations[changes, :2] - np.rint(goals[changes]))
    assert np.hypot(*miss.T).max() < 0.1
    cells = {tuple(t) for t in np.rint(goals).astype(int).tolist()}
    assert cells <= set(layout.free_cells) and len(cells) > 0.5 * len(layout.free_cells)
    assert 0.09 < np.abs(goals - np.rint(goals)).max() <= 0.1 + 1e-6


def test_the_stream_is_one_unbroken_motion(recorded):
    """Any recorded state and action give the next state: no reset, no stale state, also after a success."""
    layout, stream = recorded
    point = PointMass(layout)
    replayed = np.empty((3000, 4))
    for i in range(3000):
        point.set_state(stream.observations[i, :2], stream.observations[i, 2:])
        replayed[i] = point.step(*stream.actions[i].tolist())
    error = np.abs(replayed - stream.observations[1:3001])
    assert np.median(error) < 1e-6
    # Contacts amplify the float32 rounding of the state; free motion does not.
    assert (error.max(1) < 1e-5).mean() > 0.97 and error[:, :2].max() < 0.005
    cells = {layout.cell_of(x, y) for x, y in stream.observations[:, :2].tolist()}
    assert cells <= set(layout.free_cells)


def test_the_same_seed_gives_the_same_stream():
    a, b, c = (collect("multi2d-umaze", 700, seed=seed) for seed in (1, 1, 2))
    assert (a.observations == b.observations).all() and (a.actions == b.actions).all()
    assert (a.infos["goal"] == b.infos["goal"]).all()
    assert (a.observations[0] != c.observations[0]).all()
    longer = collect("maze2d-umaze", 900, seed=1)  # of the same maze, and only more of it
    assert (longer.observations[:700] == a.observations).all()


def test_noise_is_added_and_clipped():
    plain, noisy = (collect("maze2d-umaze", 3000, seed=0, noisy=noisy) for noisy in (False, True))
    assert noisy.attributes["noisy"] is True and np.abs(noisy.actions).max() == 1.0
    # Step to step, the controller's action moves little and noise of deviation 0.5 a lot.
    jumps = [np.abs(np.diff(s.actions, axis=0)).mean() for s in (plain, noisy)]
    assert jumps[0] < 0.12 and jumps[1] > 0.3
    assert noisy.attributes["successes"] > 20


def test_a_target_is_given_up_at_the_cap(monkeypatch):
    monkeypatch.setattr(WaypointController, "act", lambda self, x, y, vx, vy: (0.0, 0.0, False))
    goals = collect("maze2d-umaze", 700, seed=0).infos["goal"]
    assert (np.flatnonzero((goals[1:] != goals[:-1]).any(1)) + 1).tolist() == [300, 600]


def test_the_file_holds_the_stream_and_becomes_paths(tmp_path):
    calls = []
    n = STEPS_AT_ONCE + 5
    path = tmp_path / "new" / "maze.hdf5"
    stream = collect("maze2d-umaze-v1", n, 3, path=path, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(STEPS_AT_ONCE, n), (n, n)]
    read = load_stream(path)
    for name in ("observations", "actions", "rewards", "terminals", "timeouts"):
        assert (getattr(read, name) == getattr(stream, name)).all()
        assert getattr(read, name).dtype == getattr(stream, name).dtype
    assert set(read.infos) == {"goal", "qpos", "qvel"} and read.attributes["seed"] == 3
    with h5py.File(path) as file:
        assert file.attrs["env_id"] == "maze2d-umaze-v1" and file["infos/goal"].shape == (n, 2)
    episodes = load_dataset(path)
    lasts = episodes.starts + episodes.lengths - 1
    assert len(episodes) > 5
    assert (np.linalg.norm(episodes.observations[lasts[1:], :2] - [1.0, 1.0], axis=1) < 0.6).all()
    firsts = episodes.observations[episodes.starts[1:], :2]
    assert (np.linalg.norm(firsts - [1.0, 1.0], axis=1) >= 0.5).all()


def test_an_interrupted_recording_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.hdf5"
    collect("maze2d-umaze", 50, path=path)
    before = path.read_bytes()

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect("maze2d-umaze", 60, path=path, progress=interrupt)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"env_id": "maze2d-tiny", "n_steps": 10}, ValueError, "env_id: found 'maze2d-tiny'"),
        ({"env_id": "hopper", "n_steps": 10}, ValueError, "env_id: found 'hopper', which is not a maze"),
        ({"env_id": "maze2d-umaze", "n_steps": 0}, ValueError, "n_steps: found 0, expected a whole number at least 1"),
        (
            {"env_id": "maze2d-umaze", "n_steps": 9, "seed": None},
            ValueError,
            "seed: found None, expected a whole number at least 0",
        ),
        ({"env_id": "maze2d-umaze", "n_steps": 10**12, "path": "/"}, IsADirectoryError, "found a folder"),
    ],
)
def test_errors_come_before_any_work(arguments, error, message):
    with pytest.raises(error, match=message):
        collect(**arguments)
