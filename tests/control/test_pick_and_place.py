"""Recorded pick-and-places: paths that windows fit into, the same by any number of processes, and followed again."""

import numpy as np
import pytest

pytest.importorskip("ogbench")

from control.stacking_data import placements, scene

from diffuser_fast.control import pick_and_place as p
from diffuser_fast.control.tracking import follow
from diffuser_fast.data import Windows, fitted, load_dataset
from diffuser_fast.envs.stacking import PLACED, below, position, positions, states_of


def test_a_file_of_them(tmp_path):
    made = p.collect_stacking(3, tmp_path / "a.hdf5", seed=5)
    episodes = load_dataset(tmp_path / "a.hdf5")
    assert len(made) == 3 * p.COPIES * p.LENGTH and made.attributes["attempts"] >= 3
    assert episodes.actions.shape == (len(made), 0) and set(episodes.lengths) == {p.LENGTH}
    np.testing.assert_array_equal(episodes.observations, made.observations)
    windows = Windows.of(episodes, 128, fitted(episodes, "limits"))
    x = windows.batch(np.random.default_rng(0), 4)
    assert len(windows) == 3 * p.COPIES * (p.LENGTH - 128) and x.shape == (4, 128, 47) and np.abs(x).max() <= 1.001


def test_copies_are_the_same_placement():
    seen = p.collect_stacking(1, seed=6).observations.reshape(p.COPIES, p.LENGTH, 47)
    paths = [states_of(one) for one in seen]
    first = np.linalg.norm(positions(paths[0][-1]) - positions(paths[0][0]), axis=1)
    for path in paths:
        away = np.linalg.norm(positions(path[-1]) - positions(path[0]), axis=1)
        np.testing.assert_allclose(np.sort(away), np.sort(first), atol=1e-6)
        np.testing.assert_allclose(np.abs(path[:, 1]), np.abs(paths[0][:, 1]), atol=1e-6)
        assert below(path[-1]).count(None) == below(paths[0][-1]).count(None)


def test_processes_make_no_difference(monkeypatch):
    monkeypatch.setattr(p, "SCENES_AT_ONCE", 1)
    one, two = (p.collect_stacking(2, seed=7, workers=n) for n in (1, 2))
    np.testing.assert_array_equal(one.observations, two.observations)


def test_the_state_says_what_the_simulation_does():
    for _, cube, place, states in placements()[:3]:
        assert np.linalg.norm(states[-1, position(cube)] - place) < PLACED / 2
        assert states[:, 6].max() > 0.5 and states[-1, 6] == 0, "the cube was held, and let go"
        held = states[:, 6] > 0.5
        assert np.linalg.norm(states[held, :3] - states[held, position(cube)], axis=1).max() < 0.03


def test_the_controller_places_what_was_recorded():
    """The gate before anything is trained: states alone say enough to do it again."""
    done = []
    for back, cube, place, states in placements():
        *_, state = follow(scene(), back(), np.concatenate((states, np.repeat(states[-1:], 20, 0))))
        done.append(np.linalg.norm(state[position(cube)] - place) < PLACED)
    assert np.mean(done) > 0.8


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="n_placements: found 0, expected a whole number at least 1"):
        p.collect_stacking(0)
    with pytest.raises(ValueError, match=r"workers: found 1\.5"):
        p.collect_stacking(1, workers=1.5)
    with pytest.raises(OSError):
        p.collect_stacking(1, tmp_path)
