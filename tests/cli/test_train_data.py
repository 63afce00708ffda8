"""``train`` on what people have: other files, other environments, and targets that say nothing."""

import h5py
import numpy as np
import pytest

SMALL = ("--horizon", 8, "--diffusion-steps", 2, "--dim", 16, "--dim-mults", "1,2", "--batch-size", 2, "--steps", 1)
SMALL += ("--precision", "float32", "--threads", 1, "--device", "cpu")


def write(path, rewards=None, **extra):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"] = rng.normal(size=(200, 3)), rng.normal(size=(200, 2))
        file["timeouts"] = np.arange(200) % 40 == 39
        if rewards is not None:
            file["rewards"] = np.broadcast_to(rewards, 200)
        for name, array in extra.items():
            file[name] = array
    return path


@pytest.mark.parametrize(
    ("rewards", "sentence"),
    [
        (None, "rewards: found none, which a value network learns from; --field rewards=NAME names them"),
        (0.0, "rewards: found 0 at every step, which a value network can learn nothing from"),
    ],
)
def test_targets_without_information(tmp_path, refusal, rewards, sentence):
    path = write(tmp_path / "a.hdf5", rewards)
    assert sentence in refusal("train", path, "-o", tmp_path / "run", "--target", "value", *SMALL)
    assert not (tmp_path / "run").exists()


def test_targets_with_information(tmp_path, record):
    path = write(tmp_path / "a.hdf5", None, score=np.arange(200.0))
    words = ("--target", "value", "--field", "rewards=score", *SMALL[:6], "--dim-mults", "1,4", *SMALL[8:])
    assert record("train", path, "-o", tmp_path / "run", *words)["finished"]
    zeros = write(tmp_path / "b.hdf5", 0.0, terminals=np.arange(200) == 79)
    penalty = ("--termination-penalty", -100)
    assert record("train", zeros, "-o", tmp_path / "penalty", *words[:2], *penalty, *words[4:])["finished"]
    assert record("train", zeros, "-o", tmp_path / "planner", *SMALL)["finished"], "a planner needs no rewards"


def test_maze_data_train_a_value_network(tmp_path, record):
    data = tmp_path / "umaze.hdf5"
    record("data", "maze2d-umaze", "-o", data, "--steps", 4000)
    with h5py.File(data) as file:
        assert 0 < file["rewards"][()].mean() < 1
    words = ("--target", "value", *SMALL[:6], "--dim-mults", "1,4", *SMALL[8:])
    assert record("train", data, "-o", tmp_path / "run", *words)["finished"]


def test_an_environment_without_a_recipe(tmp_path, refusal, record):
    path = write(tmp_path / "a.hdf5", 1.0)
    line = refusal("train", path, "-o", tmp_path / "run", "--steps", 1)
    assert "--env: no published recipe" in line and "--horizon and --diffusion-steps" in line and "--recipe" in line
    assert record("train", path, "-o", tmp_path / "run", *SMALL, "--env", "Lift")["finished"]
    found = record("info", tmp_path / "run" / "planner.safetensors")
    assert found["metadata"]["env"] == "Lift" and found["metadata"]["recipe"]["dim_mults"] == [1, 2]


def test_a_recipe_that_is_none(tmp_path, refusal):
    path, recipe = write(tmp_path / "a.hdf5", 1.0), tmp_path / "recipe.json"
    for text, sentence in [
        ("{", "recipe.json: not JSON"),
        ("[]", "recipe.json: recipe: found [], expected a JSON object"),
        ('{"colour": 1}', "recipe.json: recipe: unknown fields ['colour']"),
        ('{"horizon": "8"}', "recipe.json: horizon: found '8', expected a whole number"),
        ('{"lr": null}', "recipe.json: lr: found None, expected a finite number"),
        ('{"dim_mults": 3}', "recipe.json: dim_mults: found 3, expected whole numbers"),
        ('{"attention": 1}', "recipe.json: attention: found 1, expected True or False"),
    ]:
        recipe.write_text(text)
        assert sentence in refusal("train", path, "-o", tmp_path / "run", "--recipe", recipe)
    words = ("train", path, "-o", tmp_path / "run", *SMALL)
    for extra, sentence in [
        (("--target", "both"), "--target: found 'both', expected one of planner, value"),
        (("--normalizer", "odd"), "--normalizer: found 'odd', expected"),
        (("--device", "no-such"), "--device: found 'no-such', which torch cannot use here"),
        (("--dim-mults", "1,x"), "expected whole numbers like 1,4,8"),
        (("--dim", 15), "--dim: found 15, expected an even number"),
        (("--field", "timeouts=observations"), "timeouts: found an array of shape"),
    ]:
        assert sentence in refusal(*words, *extra)
    assert not (tmp_path / "run").exists()
