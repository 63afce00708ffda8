"""Stacking's states: what they say of cubes, whichever way they are written. None of this needs OGBench."""

import builtins

import numpy as np
import pytest

from diffuser_fast.envs import stacking as s


def state(*cubes):
    """A state with the cubes at these places."""
    row = np.zeros(s.STATE_DIM)
    for i, (place, yaw) in enumerate(cubes):
        row[s.position(i)], row[10 + 5 * i : 12 + 5 * i] = place, (np.cos(yaw), np.sin(yaw))
    return row


TOWER = state(((0.4, 0.1, 0.1), 0.3), ((0.4, 0.1, 0.02), 2.0), ((0.41, 0.1, 0.06), -3.0), ((0.5, -0.2, 0.02), 1.0))


def test_towers():
    assert s.below(TOWER) == [2, None, 1, None] and s.tops(TOWER) == [0, 3] and s.tallest(TOWER) == 3
    fallen = TOWER.copy()
    fallen[s.position(0)] = 0.45, 0.1, 0.02
    assert s.below(fallen) == [None, None, 1, None] and s.tallest(fallen) == 2
    lifted = TOWER.copy()
    lifted[9] += 0.02
    assert s.below(lifted)[0] is None, "a cube in the air stands on nothing"
    np.testing.assert_array_equal(s.positions(np.stack((TOWER, fallen)))[1, 0], [0.45, 0.1, 0.02])


def test_a_quarter_turn_is_no_turn():
    path = np.stack((TOWER, TOWER))
    path[1, 10:12] = np.cos(0.5), np.sin(0.5)
    same = s.facing(path)
    angles = np.arctan2(same[:, [11, 16, 21, 26]], same[:, [10, 15, 20, 25]])
    assert (np.abs(angles[0]) <= np.pi / 4).all()
    before = np.arctan2(path[:, [11, 16, 21, 26]], path[:, [10, 15, 20, 25]])
    turns = (angles - before) / (np.pi / 2)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    np.testing.assert_allclose(np.cos(angles[1] - angles[0]), np.cos(before[1] - before[0]), atol=1e-9)
    np.testing.assert_array_equal(same[:, :10], path[:, :10])


def test_observations_are_states():
    path = s.facing(np.stack((TOWER, TOWER, TOWER)))
    path[1, 7:10] += 0.1
    path[2, 10:12] = np.cos(1.0), np.sin(1.0)
    seen = s.observations(path)
    assert seen.shape == (3, s.OBSERVATION_DIM)
    np.testing.assert_allclose(s.states_of(seen), path, atol=1e-12)
    np.testing.assert_allclose(seen[:, 12:27], np.tile([0, 0, 0, 1, 0], (3, 3)), atol=1e-12)
    np.testing.assert_allclose(seen[1, 7:12], [0.1, 0.1, 0.1, 1, 0], atol=1e-12)
    np.testing.assert_array_equal(seen[:, 27:], np.tile(path[0, 7:], (3, 1)))


def test_free_places():
    rng, taken = np.random.default_rng(0), []
    for _ in range(6):
        taken.append(s.free_place(rng, taken))
    apart = np.linalg.norm(np.array(taken)[:, None] - np.array(taken), axis=-1)[np.triu_indices(6, 1)]
    assert apart.min() > s.CLEARANCE and (np.array(taken)[:, 2] == s.CUBE / 2).all()


def test_without_ogbench(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("ogbench"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"stacking needs OGBench: pip install diffuser-fast\[stacking\]"):
        s.Scene()
