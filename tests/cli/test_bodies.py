"""The commands for locomotion, as a person calls them."""

import json

import h5py
import pytest

from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.formats import load, native

SIZES = {"horizon": 8, "transition_dim": 14, "dim_mults": (1, 2)}


@pytest.fixture
def planner(tmp_path):
    """A guided native file with random weights for the hopper."""
    checkpoint = random_checkpoint(
        UNetSpec(**SIZES, dim=16), ValueSpec(**SIZES, dim=32), action_dim=3, n_train=4
    )  # fmt: skip
    checkpoint.metadata["env"] = "hopper-medium"
    return str(native.save(checkpoint, tmp_path / "planner.safetensors"))


def refused(result, *words):
    code, out, err = result
    assert code == 2 and out == "" and "Traceback" not in err
    lines = [line for line in err.splitlines() if line.lower().startswith("error:")]
    assert len(lines) == 1 and all(word in lines[0] for word in words), err


def test_data_train_convert_rollout(tmp_path, record, run):
    """From policies to a guided planner in one file, each step by its command."""
    data = record("data", "hopper-medium", "-o", tmp_path / "d.hdf5", "--steps", 600)
    assert data["env_id"] == "hopper-medium" and data["n_steps"] == 600
    with h5py.File(tmp_path / "d.hdf5") as file:
        assert file["observations"].shape == (600, 11) and file.attrs["environment"] == "Hopper-v5"
    common = ("--steps", 2, "--batch-size", 2, "--threads", 1, "--precision", "float32")
    made = record("train", tmp_path / "d.hdf5", "-o", tmp_path / "run", *common)
    value = record("train", tmp_path / "d.hdf5", "-o", tmp_path / "value", "--target", "value", *common)
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (recipe["schedule"], recipe["lr"], recipe["max_grad_norm"], recipe["horizon"]) == ("cosine", 1e-3, 1.0, 32)
    both = tmp_path / "hopper.safetensors"
    record(
        "convert", made["checkpoint"], both, "--value", value["checkpoint"], "--dtype", "float16",
        "--scale", 0.25, "--t-stopgrad", 3, "--guide-steps", 1,
    )  # fmt: skip
    loaded = load(both)
    assert (loaded.guide.scale, loaded.guide.t_stopgrad, loaded.guide.n_steps) == (0.25, 3, 1)
    assert loaded.metadata["env"] == "hopper-medium" and loaded.metadata["value"]["recipe"]["target"] == "value"
    found = record("rollout", both, "--episodes", 2, "--batch-size", 2, "--threads", 1, "--warm-start", 2)
    assert len(found["returns"]) == 2 and found["seed"] == 0 and found["plans"] == found["length"] * 2
    code, out, _ = run("rollout", both, "--episodes", 1, "--batch-size", 2, "--threads", 1, "--seed", 1)
    assert code == 0 and out.startswith("return ") and "the best of 2" in out


def test_guides(planner, record):
    """Guided, unguided and ranked are three different planners; the numbers of guidance count."""
    kinds = {
        kind: record("rollout", planner, "--episodes", 1, "--batch-size", 2, "--threads", 1, *words)["returns"]
        for kind, words in {
            "auto": (), "rank": ("--guide", "rank"), "none": ("--guide", "none"), "scale": ("--scale", 5)
        }.items()
    }  # fmt: skip
    assert len({tuple(r) for r in kinds.values()}) == 4


def test_demo(planner, record, run, tmp_path):
    found = record("demo", "--env", "hopper", "--checkpoint", planner, "-o", tmp_path / "out", "--steps", 12)
    assert (tmp_path / "out" / "hopper.gif").read_bytes().startswith(b"GIF8")
    assert found["length"] <= 12 and found["pictures"] == [str(tmp_path / "out" / "hopper.gif")]
    assert [row["name"] for row in found["latency"]] == ["diffuser-fast (cpu)", "torch eager"]


def test_refusals(planner, run, tmp_path):
    refused(run("rollout", planner, "--replan", 3), "--replan")
    refused(run("rollout", planner, "--guide", "none", "--scale", 1), "--scale: --guide none follows no gradient")
    refused(run("rollout", planner, "--env", "walker2d", "--episodes", 1), "Walker2d-v5 has 17 observations")
    refused(run("data", "hopper-medium", "--noisy"), "--noisy")
    refused(run("data", "hopper-random", "-o", tmp_path / "x.hdf5"), "hopper-medium-replay")
    unguided = native.save(random_checkpoint(UNetSpec(**SIZES, dim=16), action_dim=3), tmp_path / "u.safetensors")
    refused(run("convert", unguided, tmp_path / "x.safetensors", "--scale", 1), "--scale: the checkpoint has no value")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["planner.safetensors", "u.safetensors"]
