"""A run is the same run however often it was interrupted, and its files are always whole."""

import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from diffuser_fast.data import Episodes, returns_to_go
from diffuser_fast.formats import load, native
from diffuser_fast.planner import Planner
from diffuser_fast.train import trainer as trainer_module
from diffuser_fast.train.module import TrajectoryNetwork
from diffuser_fast.train.recipe import Recipe, published
from diffuser_fast.train.state import LossLog, load_state, read_log
from diffuser_fast.train.trainer import Trainer

RECIPE = Recipe(horizon=8, dim=8, dim_mults=(1, 2), n_timesteps=5, steps=24, batch_size=4, warmup=4)


def episodes(steps=400, seed=0):
    """Slow waves: something a small network learns in a few hundred steps."""
    rng = np.random.default_rng(seed)
    path = np.sin(np.arange(steps)[:, None] * [0.05, 0.08, 0.11, 0.14]).astype(np.float32)
    return Episodes(
        observations=path,
        actions=path[:, :2] * path[:, 2:],
        rewards=rng.normal(size=steps).astype(np.float32),
        lengths=np.array([steps // 2, steps - steps // 2]),
        terminated=np.array([False, False]),
    )


def trained(folder, recipe=RECIPE, **options):
    made = Trainer(recipe, episodes(), folder, device="cpu", precision="float32", **options)
    finished = made.run(save_every=8)
    return made, finished


def test_learns_and_leaves_a_planner(tmp_path):
    _, finished = trained(tmp_path, Recipe(**{**RECIPE.to_json(), "steps": 300, "lr": 2e-3}))
    losses = [r["loss"] for r in read_log(tmp_path / "loss.jsonl")]
    assert finished and losses[-1] < 0.75 * losses[0]
    checkpoint = native.load(tmp_path / "planner.safetensors")
    assert checkpoint.unet.spec.horizon == 8 and checkpoint.action_dim == 2 and checkpoint.clip_denoised
    assert checkpoint.metadata["step"] == 300 and checkpoint.metadata["recipe"]["lr"] == 2e-3
    np.testing.assert_allclose(checkpoint.normalizers.observations.maxs, episodes().observations.max(axis=0))


def test_a_value_network_goes_with_a_planner(tmp_path):
    sizes = {"horizon": 16, "dim": 16}
    trained(tmp_path / "planner", Recipe(**{**RECIPE.to_json(), **sizes}))
    trained(tmp_path / "value", Recipe(**{**RECIPE.to_json(), **sizes, "target": "value", "conditions": "first"}))
    value = tmp_path / "value" / "value.safetensors"
    with pytest.raises(ValueError, match="a value network only"):
        native.load(value)
    checkpoint = load(tmp_path / "planner" / "planner.safetensors", value=value)
    plans = Planner(checkpoint, "reference", batch_size=3).plan({0: np.zeros(4)})
    assert plans.values.std() > 0 and (np.diff(plans.values) <= 0).all()


def test_checkpoint_holds_the_average(tmp_path):
    made, _ = trained(tmp_path)
    live, stored = made.net.weights().arrays, native.load(tmp_path / "planner.safetensors").unet.arrays
    assert any(np.abs(live[name] - stored[name]).max() > 1e-5 for name in live)
    for name, value in made.ema.items():
        if name.startswith("parameters_by_name."):
            plain = name.removeprefix("parameters_by_name.").replace("/", ".")
            np.testing.assert_array_equal(value.numpy(), stored[plain])


def test_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    trained(tmp_path / "whole")
    plain = Trainer._update

    def interrupt_at_11(self):
        if self.step == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self)

    monkeypatch.setattr(Trainer, "_update", interrupt_at_11)
    made, finished = trained(tmp_path / "parts")
    assert not finished and made.step == 12  # the step that was under way is finished and saved
    monkeypatch.setattr(Trainer, "_update", plain)
    made, finished = trained(tmp_path / "parts")
    assert finished and made.step == 24
    assert_same_state(tmp_path / "whole", tmp_path / "parts")


def test_killed_run_goes_on_from_its_last_save(tmp_path):
    """kill -9 between two saves: the steps after the last save are made again, identically."""
    trained(tmp_path / "whole")
    code = f"""
import os, sys
sys.path.insert(0, {str(os.path.dirname(__file__))!r})
from test_trainer import Trainer, trained
from pathlib import Path
plain = Trainer._update
def update(self):
    if self.step == 13:
        os.kill(os.getpid(), 9)
    return plain(self)
Trainer._update = update
trained(Path({str(tmp_path / "killed")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -9
    assert load_state(tmp_path / "killed" / "training.pt")["step"] == 8
    trained(tmp_path / "killed")
    assert_same_state(tmp_path / "whole", tmp_path / "killed")


def assert_same_state(one, other):
    a, b = (load_state(folder / "training.pt") for folder in (one, other))
    assert a["step"] == b["step"]
    for part in ("net", "ema"):
        for name in a[part]:
            assert torch.equal(a[part][name], b[part][name]), name


def test_failure_while_saving_keeps_the_old_files(tmp_path, monkeypatch):
    made, _ = trained(tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def full_disk(state, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        made.save()
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_damaged_state_is_one_clear_error(tmp_path):
    trained(tmp_path)
    state = tmp_path / "training.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"training\.pt: not a training state"):
        Trainer(RECIPE, episodes(), tmp_path, device="cpu")


def test_another_recipe_in_the_same_folder_is_refused_but_more_steps_are_not(tmp_path):
    trained(tmp_path)
    with pytest.raises(ValueError, match="other values of lr"):
        Trainer(Recipe(**{**RECIPE.to_json(), "lr": 1.0}), episodes(), tmp_path, device="cpu")
    made, finished = trained(tmp_path, Recipe(**{**RECIPE.to_json(), "steps": 30}))
    assert finished and made.step == 30
    assert json.loads((tmp_path / "recipe.json").read_text())["steps"] == 30


def test_loss_log_drops_what_will_be_made_again(tmp_path):
    log = LossLog(tmp_path / "loss.jsonl", 0)
    for step in (50, 100, 150):
        log.write(step=step, loss=1.0)
    log.close()
    with (tmp_path / "loss.jsonl").open("a") as file:
        file.write('{"step": 200, "lo')  # cut short by a kill
    LossLog(tmp_path / "loss.jsonl", 100).close()
    assert [r["step"] for r in read_log(tmp_path / "loss.jsonl")] == [50, 100]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "planner_loss", lambda net, x0, *a, **k: net(x0, a[0]).mean() * float("nan"))
    with pytest.raises(FloatingPointError, match="step 8"):
        trained(tmp_path)
    assert not (tmp_path / "training.pt").exists()  # nothing that is not finite is ever saved


def test_learning_rate_rises_holds_and_falls():
    recipe = Recipe(steps=1000, warmup=100, decay=0.25, lr=1.0)
    rates = [recipe.learning_rate(s) for s in range(1000)]
    assert (
        rates[0] == 0.01
        and rates[99] == 1
        and rates[750] == 1
        and rates[875] == 0.5
        and rates[999] == pytest.approx(0.004)
    )


def test_cosine_rises_and_falls_to_nothing():
    recipe = Recipe(steps=1000, warmup=100, schedule="cosine", lr=2.0)
    rates = np.array([recipe.learning_rate(s) for s in range(1000)])
    assert rates[0] == 0.02 and rates[99] == 2 and rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[549] == pytest.approx(1) and (np.diff(rates[99:]) < 0).all() and (np.diff(rates[:100]) > 0).all()
    assert Recipe(steps=10, warmup=0, schedule="cosine", lr=1.0).learning_rate(4) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("field", "value"), [("schedule", "step"), ("lr", 0.0), ("lr", float("nan")), ("max_grad_norm", -1.0)]
)
def test_refused_recipes(field, value):
    with pytest.raises(ValueError, match=f"{field}: found"):
        Recipe(**{field: value})


def test_gradients_are_clipped_to_the_norm_asked_for(tmp_path):
    """The first update's gradient, clipped and not: parallel, and of the norm asked for."""
    grads = {}
    for norm in (None, 1e-3):
        recipe = Recipe(**{**RECIPE.to_json(), "steps": 1, "max_grad_norm": norm})
        made, _ = trained(tmp_path / str(norm), recipe)
        grads[norm] = torch.cat([p.grad.flatten() for p in made.net.parameters()])
    assert grads[None].norm() > 1e-2 and float(grads[1e-3].norm()) == pytest.approx(1e-3, rel=1e-3)
    torch.testing.assert_close(grads[1e-3] / grads[1e-3].norm(), grads[None] / grads[None].norm())


def test_a_value_network_is_saved_in_units_of_return(tmp_path):
    """It learns standardised returns; what is saved predicts returns: shifted and scaled, the loss is the same."""
    sizes = {"horizon": 16, "dim": 16, "target": "value", "conditions": "first", "steps": 3}
    recipe = Recipe(**{**RECIPE.to_json(), **sizes})
    data = episodes()
    shifted = dataclasses.replace(data, rewards=data.rewards + np.float32(50))
    made = Trainer(recipe, shifted, tmp_path, device="cpu", precision="float32")
    assert made.run()
    inside = TrajectoryNetwork(made.net.spec)
    inside.load_state_dict(made.ema)
    outside = TrajectoryNetwork(made.net.spec)
    outside.load(native.load_value(tmp_path / "value.safetensors")[0].arrays)
    x, t = torch.randn(4, 16, 6), torch.tensor([0, 1, 2, 4])
    returns = returns_to_go(shifted, recipe.discount)[: 200 - 16]
    every = np.concatenate((returns, returns_to_go(shifted, recipe.discount)[200 : 400 - 16]))
    expected = inside(x, t) * every.std() + every.mean()
    assert every.mean() > 1000
    torch.testing.assert_close(outside(x, t), expected.float(), rtol=1e-5, atol=1e-2)


def test_published_recipes():
    sizes = {
        name: (published(name).horizon, published(name).n_timesteps)
        for name in ("maze2d-umaze", "maze2d-medium-v1", "maze2d-large-v1")
    }
    assert sizes == {"maze2d-umaze": (128, 64), "maze2d-medium-v1": (256, 256), "maze2d-large-v1": (384, 256)}
    hopper, cheetah = published("hopper-medium"), published("halfcheetah-medium-expert", "value")
    assert (hopper.horizon, hopper.dim_mults, hopper.n_timesteps, hopper.attention) == (32, (1, 2, 4, 8), 20, False)
    assert (hopper.action_weight, hopper.normalizer, hopper.conditions) == (10, "gaussian", "first")
    assert (hopper.use_padding, hopper.max_path_length, hopper.clip_denoised) == (True, 1000, False)
    assert (cheetah.target, cheetah.horizon, cheetah.dim_mults, cheetah.attention) == ("value", 4, (1, 4, 8), False)
    assert (cheetah.discount, cheetah.termination_penalty) == (0.997, -100)
    assert published("halfcheetah-medium").attention and published("walker2d-medium") == hopper
    stacking = published("stacking")
    assert (stacking.horizon, stacking.n_timesteps, stacking.conditions, stacking.normalizer) == (
        128,
        100,
        "first",
        "limits",
    )
    for env, target in (("antmaze", "planner"), ("stacking", "value")):
        with pytest.raises(ValueError, match="no published recipe"):
            published(env, target)
