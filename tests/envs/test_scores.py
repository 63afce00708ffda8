"""Reference returns as D4RL publishes them."""

import numpy as np
import pytest

from diffuser_fast.envs.scores import normalized_score, reference_returns

PUBLISHED = {
    "maze2d-umaze-v1": (23.85, 161.86),
    "maze2d-medium-v1": (13.13, 277.39),
    "maze2d-large-v1": (6.7, 273.99),
    "halfcheetah-medium-v2": (-280.178953, 12135.0),
    "hopper-medium-expert-v2": (-20.272305, 3234.3),
    "walker2d-medium-replay-v2": (1.629008, 4592.3),
}


@pytest.mark.parametrize("env_id", PUBLISHED)
def test_published_references(env_id):
    low, high = PUBLISHED[env_id]
    assert reference_returns(env_id) == (low, high)
    assert normalized_score(env_id, low) == 0.0
    assert normalized_score(env_id, high) == 100.0
    assert normalized_score(env_id, (low + high) / 2) == pytest.approx(50.0, abs=1e-12)


def test_a_worked_number():
    # 200 of 300 steps at the goal of U-Maze: 100 * (200 - 23.85) / (161.86 - 23.85)
    assert normalized_score("maze2d-umaze", 200.0) == pytest.approx(127.6357, abs=1e-4)


@pytest.mark.parametrize(
    "spelling",
    ["maze2d-large", "maze2d-large-v1", "diffuser_fast/maze2d-large-v1", "multi2d-large", "MAZE2D-Large-v0"],
)
def test_spellings_and_multi2d_share_one_reference(spelling):
    assert reference_returns(spelling) == (6.7, 273.99)


def test_arrays_of_returns():
    assert np.allclose(normalized_score("hopper", np.array([-20.272305, 3234.3])), [0.0, 100.0])


@pytest.mark.parametrize("wrong", ["antmaze-umaze-v2", "maze2d", "maze2d-umaze-dense-v1", "hopper-easy-v2", ""])
def test_unknown_environment_lists_the_known(wrong):
    with pytest.raises(ValueError, match=r"env_id: found .*expected one of: maze2d-umaze.*multi2d-.*walker2d"):
        normalized_score(wrong, 1.0)


def test_a_name_must_be_a_string():
    with pytest.raises(TypeError, match="env_id: found int"):
        normalized_score(3, 1.0)
