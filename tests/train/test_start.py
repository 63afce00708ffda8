"""Going on from a checkpoint: its weights and normaliser, a learning rate that rises anew, a folder that says all."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from train.test_trainer import RECIPE, assert_same_state, episodes, trained

from diffuser_fast.cli import group
from diffuser_fast.core.spec import ValueSpec
from diffuser_fast.formats import load, native
from diffuser_fast.train.module import TrajectoryNetwork
from diffuser_fast.train.recipe import Recipe
from diffuser_fast.train.standardized import Standardized
from diffuser_fast.train.start import next_recipe
from diffuser_fast.train.state import load_state
from diffuser_fast.train.trainer import Trainer

VALUE = {"horizon": 16, "dim": 16, "target": "value", "conditions": "first"}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run's folder, and what it left."""
    folder = tmp_path_factory.mktemp("first")
    torch.set_num_threads(1)
    trained(folder)
    return native.load(folder / "planner.safetensors")


def stored(folder):
    return native.load(folder / "planner.safetensors")


def test_the_first_weights_and_the_normaliser_are_the_checkpoints(tmp_path, first):
    other = dataclasses.replace(episodes(), observations=3 * episodes().observations)
    recipe = Recipe(**{**RECIPE.to_json(), "seed": 1})
    made = Trainer(recipe, other, tmp_path, device="cpu", precision="float32", start=first)
    for name, array in made.net.weights().arrays.items():
        np.testing.assert_array_equal(array, first.unet.arrays[name])
    for name, value in made.ema.items():
        assert torch.equal(value, made.net.state_dict()[name])
    assert made.normalizers is first.normalizers and made.step == 0
    assert made.run()
    left = stored(tmp_path)
    assert left.normalizers.to_json() == first.normalizers.to_json()
    assert left.metadata["from"] == {"step": 24, "recipe": RECIPE.to_json()} and left.metadata["step"] == 24
    assert left.metadata["recipe"]["seed"] == 1


def test_it_goes_on_learning_where_the_first_run_ended(tmp_path):
    recipe = Recipe(**{**RECIPE.to_json(), "steps": 300, "lr": 2e-3})
    trained(tmp_path / "one", recipe)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "one" / "loss.jsonl").read_text().splitlines()]
    more = Recipe(**{**recipe.to_json(), "seed": 1, "steps": 16, "warmup": 16})
    trained(tmp_path / "two", more, start=stored(tmp_path / "one"))
    again = [json.loads(line)["loss"] for line in (tmp_path / "two" / "loss.jsonl").read_text().splitlines()]
    assert again[0] < 0.8 * losses[0] and again[0] < 1.5 * losses[-1]


def test_a_run_goes_on_in_its_folder_with_the_checkpoint_at_hand_or_not(tmp_path, first, monkeypatch):
    recipe = Recipe(**{**RECIPE.to_json(), "seed": 1})
    trained(tmp_path / "whole", recipe, start=first)
    trained(tmp_path / "parts", Recipe(**{**recipe.to_json(), "steps": 8}), start=first)
    made = Trainer(
        Recipe(**{**recipe.to_json(), "steps": 9}), episodes(), tmp_path / "parts", device="cpu", precision="float32"
    )
    assert made.step == 8 and made.normalizers.to_json() == first.normalizers.to_json()
    trained(tmp_path / "parts", recipe, start=first)
    assert load_state(tmp_path / "parts" / "training.pt")["step"] == 24
    assert stored(tmp_path / "parts").metadata["from"]["step"] == 24
    # Recipe.steps decides where the learning rate falls: the same schedule is the same run.
    constant = {"steps": 24, "decay": 0.0, "seed": 1}
    for name, stops in (("one", (24,)), ("other", (8, 24))):
        for stop in stops:
            trained(tmp_path / name, Recipe(**{**RECIPE.to_json(), **constant, "steps": stop}), start=first)
    assert_same_state(tmp_path / "one", tmp_path / "other")


def test_a_value_network_goes_on_in_units_of_return(tmp_path):
    recipe = Recipe(**{**RECIPE.to_json(), **VALUE})
    data = dataclasses.replace(episodes(), rewards=episodes().rewards + np.float32(50))
    planner = Recipe(**{**RECIPE.to_json(), "horizon": 16, "dim": 16})
    Trainer(planner, data, tmp_path / "planner", device="cpu", precision="float32").run()
    Trainer(recipe, data, tmp_path / "value", device="cpu", precision="float32").run()
    both = load(tmp_path / "planner" / "planner.safetensors", value=tmp_path / "value" / "value.safetensors")
    more = Trainer(recipe, data, tmp_path / "more", device="cpu", precision="float32", start=both)
    more.save()
    again = native.load_value(tmp_path / "more" / "value.safetensors")[0].arrays
    for name, array in both.value.arrays.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-4, atol=1e-4 * np.abs(array).max(), err_msg=name)
    assert next_recipe(both, "value") == Recipe(**{**recipe.to_json(), "seed": 1})


def test_standardising_is_undone_and_done_again():
    weights = TrajectoryNetwork(ValueSpec(16, 6, dim=16, dim_mults=(1, 2))).weights()
    scale = Standardized(1000.0, 7.0)
    again = scale.redone(scale.undone(weights))
    for name, array in weights.arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, atol=2e-5)


def test_a_planner_goes_on_at_another_horizon(tmp_path, first):
    """Its weights are those of every horizon; what it leaves says which it learnt last, and which before."""
    longer = Recipe(**{**RECIPE.to_json(), "horizon": 2 * RECIPE.horizon, "steps": 2})
    made = Trainer(longer, episodes(), tmp_path, device="cpu", precision="float32", start=first)
    for name, array in made.net.weights().arrays.items():
        np.testing.assert_array_equal(array, first.unet.arrays[name])
    assert made.run()
    left = stored(tmp_path)
    assert left.unet.spec.horizon == 2 * RECIPE.horizon == 2 * left.metadata["from"]["recipe"]["horizon"]


@pytest.mark.parametrize(
    ("change", "recipe", "sentence"),
    [
        ({}, {"dim": 16}, "start: its network has dim 8, not the 16 asked for"),
        ({}, {"n_timesteps": 6}, "start: it has 5 diffusion steps, the recipe 6"),
        ({}, {"prediction": "epsilon"}, "start: its network predicts x0, the recipe's epsilon"),
        ({}, VALUE, "start: the checkpoint has no value network"),
        ({"normalizers": None}, {}, "start: the checkpoint has no normaliser statistics"),
    ],
)
def test_what_cannot_be_gone_on_from(tmp_path, first, change, recipe, sentence):
    with pytest.raises(ValueError, match=sentence):
        trained(tmp_path / "run", Recipe(**{**RECIPE.to_json(), **recipe}), start=dataclasses.replace(first, **change))
    assert not (tmp_path / "run").exists()


def test_a_folder_has_one_beginning(tmp_path, first):
    trained(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"start: the run in .* began from nothing"):
        trained(tmp_path / "nothing", start=first)
    trained(tmp_path / "first", start=first)
    with pytest.raises(ValueError, match=r"start: the run in .* began from another checkpoint"):
        trained(tmp_path / "first", start=stored(tmp_path / "first"))


def test_the_command_takes_recipe_and_next_seed_from_the_checkpoint(tmp_path):
    path = tmp_path / "data.hdf5"
    data = episodes()
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"], file["rewards"] = data.observations, data.actions, data.rewards
        file["timeouts"] = np.arange(400) % 200 == 199
    words = ["train", str(path), "--device", "cpu", "--precision", "float32", "--threads", "1", "--json"]
    small = ["--horizon", "8", "--diffusion-steps", "5", "--dim", "8", "--dim-mults", "1,2", "--batch-size", "4"]
    run = CliRunner().invoke
    first = tmp_path / "one" / "planner.safetensors"
    done = run(group, [*words, *small, "-o", str(tmp_path / "one"), "--steps", "3"])
    assert done.exit_code == 0, done.output
    for steps in ("2", "4"):  # the same command again goes on
        done = run(group, [*words, "-o", str(tmp_path / "two"), "--from", str(first), "--steps", steps])
        assert done.exit_code == 0, done.output
    left = stored(tmp_path / "two")
    assert left.metadata["recipe"]["seed"] == 1 and left.metadata["recipe"]["dim"] == 8
    assert (left.metadata["step"], left.metadata["from"]["step"]) == (4, 3)
