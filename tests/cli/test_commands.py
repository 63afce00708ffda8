"""Every command as a person calls it: what it prints, what it leaves, and one clear error for each bad input."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffuser_fast.cli import COMMANDS
from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.formats import native

GOLDEN = Path(__file__).parent.parent / "golden"
MAZE = {"horizon": 16, "transition_dim": 6, "dim": 16, "dim_mults": (1, 2)}


@pytest.fixture
def planner(tmp_path):
    """A native file with random weights for a maze."""
    checkpoint = random_checkpoint(UNetSpec(**MAZE), n_train=4, normalizer="limits", clip_denoised=True)
    checkpoint.metadata["env"] = "maze2d-umaze-v1"
    return str(native.save(checkpoint, tmp_path / "planner.safetensors"))


def refused(result, *words, code=2):
    """One error line with these words, nothing on standard output, a non-zero exit."""
    found, out, err = result
    assert found == code and out == ""
    lines = [line for line in err.splitlines() if line.startswith("error:") or line.startswith("Error:")]
    assert len(lines) == 1 and "Traceback" not in err, err
    for word in words:
        assert word in lines[0], (word, lines[0])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, run):
    code, out, _ = run(name, "--help")
    assert code == 0 and out.startswith("Usage: diffuser-fast " + name)


def test_help_lists_all_commands_without_importing_any():
    code = """
import sys
from diffuser_fast.cli import main
main(["--help"])
print([m for m in ("torch", "numpy", "mujoco") if m in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in out for name in COMMANDS) and out.splitlines()[-1] == "[]"


def test_info(planner, record):
    found = record("info", planner)
    assert found["unet"]["horizon"] == 16 and found["normalizer"] == "Limits" and found["guide"] is None
    found = record("info", GOLDEN / "hopper_guided")
    assert found["value"]["kind"] == "value" and found["guide"]["n_steps"] == 2 and found["actions"] == 3


def test_convert_and_plan_the_same(tmp_path, record):
    target = tmp_path / "hopper.safetensors"
    made = record("convert", GOLDEN / "hopper_guided", target)
    assert made["bytes"] == target.stat().st_size
    obs = json.dumps([0.5] * 11)
    plans = [record("plan", path, "--obs", obs, "--batch-size", 2) for path in (GOLDEN / "hopper_guided", target)]
    assert plans[0]["actions"] == plans[1]["actions"] and plans[0]["values"] == sorted(plans[0]["values"], reverse=True)


def test_plan_with_conditions_and_a_picture(planner, record, tmp_path):
    picture = tmp_path / "plan.png"
    limits = native.load(planner).normalizers.observations  # beyond them the normaliser clips
    start, goal, middle = (limits.mins + share * (limits.maxs - limits.mins) for share in (0.3, 0.7, 0.5))
    condition = json.dumps({"5": {"0": middle[0]}})
    found = record(
        "plan", planner, "--obs", json.dumps(start.tolist()), "--goal", json.dumps(goal.tolist()),
        "--condition", condition, "--picture", picture,
    )  # fmt: skip
    observations = np.array(found["observations"])
    np.testing.assert_allclose(observations[[0, -1]], [start, goal], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(observations[5, 0], middle[0], rtol=1e-5, atol=1e-6)
    assert picture.read_bytes().startswith(b"\x89PNG") and found["latency_ms"] > 0


@pytest.mark.filterwarnings("ignore:.*beyond the data's limits")
def test_rollout(planner, record, tmp_path):
    gif = tmp_path / "film.gif"
    found = record("rollout", planner, "--episodes", 3, "--threads", 1, "--gif", gif)
    assert found["episodes"] == 3 and found["plans"] == 3 and found["standard_error"] >= 0
    assert set(found["call_latency_ms"]) == {"p50", "p90", "p99"} and gif.read_bytes().startswith(b"GIF8")
    again = record("rollout", planner, "--episodes", 3, "--threads", 1)
    assert again["score"] == found["score"]


def test_data_then_train_then_go_on(tmp_path, record):
    data, run_folder = tmp_path / "umaze.hdf5", tmp_path / "run"
    assert record("data", "maze2d-umaze", "-o", data, "--steps", 4000)["n_steps"] == 4000
    options = ["--horizon", 16, "--diffusion-steps", 4, "--batch-size", 2, "--precision", "float32", "--threads", 1]
    first = record("train", data, "-o", run_folder, "--steps", 3, *options)
    assert first == {"checkpoint": str(run_folder / "planner.safetensors"), "step": 3, "steps": 3, "finished": True}
    assert record("train", data, "-o", run_folder, "--steps", 5, "--threads", 1)["step"] == 5
    assert record("info", run_folder / "planner.safetensors")["metadata"]["env"] == "maze2d-umaze-v1"


def test_doctor(record):
    found = record("doctor")
    assert found["backends"]["cpu"] is None and found["auto"] == "cpu" and "scalar" in found["instruction_sets"]
    assert "NVIDIA driver" in found["backends"]["triton"]
    assert "NVIDIA driver" in found["backends"]["cuda"]


def test_wrong_observation_size(planner, run):
    refused(run("plan", planner, "--obs", "[1, 2]"), "--obs: expected an observation", "[4]", "[2]")


def test_nan_observation(planner, run):
    refused(run("plan", planner, "--obs", "[1, NaN, 0, 0]"), "--obs: expected finite", "nan")


def test_horizon_the_network_cannot_take(tmp_path, run):
    checkpoint = random_checkpoint(UNetSpec(32, 6, dim=16), n_train=4)
    path = native.save(checkpoint, tmp_path / "x.safetensors")
    refused(run("plan", path, "--obs", "[1, 1, 0, 0]", "--horizon", 30), "--horizon: 30", "8", "(1, 2, 4, 8)")


def test_condition_beyond_the_horizon(planner, run):
    refused(
        run("plan", planner, "--obs", "[1, 1, 0, 0]", "--condition", '{"16": [1, 1, 0, 0]}'),
        "--condition: time 16",
        "horizon",
    )


def test_triton_without_a_gpu(planner, run):
    refused(
        run("plan", planner, "--obs", "[1, 1, 0, 0]", "--backend", "triton"), "--backend: ", "triton", "cannot run here"
    )


def test_unknown_names(planner, run):
    refused(run("plan", planner, "--obs", "[1, 1, 0, 0]", "--backend", "gpu"), "--backend: found 'gpu'", "cpu")
    refused(run("plan", planner, "--obs", "[1, 1, 0, 0]", "--sampler", "euler"), "--sampler: found 'euler'", "ddim")
    refused(run("info", "no-such-thing"), "no-such-thing", "no such file")
    refused(run("data", "antmaze"), "antmaze")


def test_truncated_pt(tmp_path, run):
    folder = tmp_path / "golden"
    shutil.copytree(GOLDEN / "maze_inpaint", folder)
    state = folder / "state_7.pt"
    state.write_bytes(state.read_bytes()[:100_000])
    refused(run("info", folder), "state_7.pt")


class Canary:
    """Unpickled carelessly, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_pickle_that_tries_to_run_code(tmp_path, run):
    folder, canary = tmp_path / "golden", tmp_path / "canary"
    shutil.copytree(GOLDEN / "maze_inpaint", folder)
    (folder / "model_config.pkl").write_bytes(pickle.dumps(Canary(canary)))
    refused(run("info", folder), "model_config.pkl", "system")
    assert not canary.exists()


def test_hdf5_without_actions(tmp_path, run):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "bad.hdf5", "w") as file:
        file["observations"] = np.zeros((10, 4), np.float32)
    refused(run("train", tmp_path / "bad.hdf5", "-o", tmp_path / "run"), "bad.hdf5", "actions")
    assert not (tmp_path / "run").exists()


def test_not_json(planner, run):
    refused(run("plan", planner, "--obs", "1,1,0,0"), "--obs", "JSON")


def test_full_disk_while_converting_keeps_the_old_file(tmp_path, planner, run, monkeypatch):
    target = tmp_path / "old.safetensors"
    target.write_bytes(b"old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    refused(run("convert", planner, target), "No space left", code=1)
    assert target.read_bytes() == b"old" and not list(tmp_path.glob(".*tmp"))


def test_value_of_a_value_network_that_is_not_there(tmp_path, planner, run):
    checkpoint = random_checkpoint(UNetSpec(**MAZE), ValueSpec(**{**MAZE, "dim": 32}), n_train=4)
    guided = native.save(checkpoint, tmp_path / "guided.safetensors")
    code, _, _ = run("plan", guided, "--obs", "[1, 1, 0, 0]", "--batch-size", 2)
    assert code == 0
    refused(
        run("plan", guided, "--obs", "[1, 1, 0, 0]", "--horizon", 8),
        "--horizon: ",
        "value network",
        "16",
        "8",
        "--guide none plans",
    )
