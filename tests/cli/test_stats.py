"""``stats``: the numbers that the original would have had, in a file that ``load`` reads."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import diffuser_fast as dfx
from diffuser_fast.core.normalizers import Limits, Normalizers
from diffuser_fast.data import fitted, load_dataset
from diffuser_fast.envs import layout_of
from diffuser_fast.formats.sidecar import read_normalizers, write_normalizers


def original_paths(arrays, cap=None, goal=None):
    """The original's sequence_dataset, and for mazes its maze2d_set_terminals and process_maze2d_episode, step by step.

    But for one slip: after the first path it counts to the cap from one. Its own data sets record timeouts.
    """
    timeouts = arrays.get("timeouts")
    if goal is not None:
        near = np.linalg.norm(arrays["observations"][:, :2] - goal, axis=-1) < 0.5
        timeouts = np.zeros(len(near), bool)
        timeouts[:-1] = near[:-1] * ~near[1:]
    paths, begin = [], 0
    for i in range(len(arrays["rewards"])):
        final = timeouts[i] if timeouts is not None else i - begin == cap - 1
        if bool(arrays["terminals"][i]) or final:
            path = {name: arrays[name][begin : i + 1] for name in ("observations", "actions")}
            if goal is not None:
                path = {name: array[:-1] for name, array in path.items()}
            paths.append(path)
            begin = i + 1
    return paths


def original_statistics(paths, kind):
    """Its ReplayBuffer's float32, its flatten, and its normaliser's own expressions."""
    fields = {}
    for name in ("observations", "actions"):
        x = np.concatenate([path[name].astype(np.float32) for path in paths], axis=0)
        if kind == "gaussian":
            fields[name] = {"means": x.mean(axis=0).tolist(), "stds": x.std(axis=0).tolist()}
        else:
            fields[name] = {"mins": x.min(axis=0).tolist(), "maxs": x.max(axis=0).tolist()}
    return fields


def waves(n, size, seed=0):
    rng = np.random.default_rng(seed)
    drift = np.cumsum(rng.normal(size=(n, size)), axis=0) * 0.05
    return {
        "observations": (np.sin(drift) + 3).astype(np.float32),
        "actions": rng.uniform(-1, 1, (n, 3)).astype(np.float32),
        "rewards": rng.normal(size=n).astype(np.float32),
        "terminals": rng.random(n) < 0.001,
    }


def write(path, arrays, **attributes):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.attrs.update(attributes)
    return path


@pytest.mark.parametrize("timeouts", [True, False])
def test_locomotion(tmp_path, record, timeouts):
    """D4RL's file of a body: Gaussian, cut at terminals and timeouts, or at the cap where it records none."""
    arrays = waves(50_000, 11)
    if timeouts:
        arrays["timeouts"] = np.arange(50_000) % 1000 == 999
    path = write(tmp_path / "hopper_medium-v2.hdf5", arrays)
    out = tmp_path / "stats.json"
    made = record("stats", path, "-o", out, "--env", "hopper-medium-v2")
    paths = original_paths(arrays, cap=1000)
    assert json.loads(out.read_text()) == {
        "normalizer": "GaussianNormalizer", "fields": original_statistics(paths, "gaussian"),
    }, "to the last bit"  # fmt: skip
    steps = sum(len(path["actions"]) for path in paths)
    assert made == {
        "path": str(out), "normalizer": "GaussianNormalizer", "paths": len(paths), "steps": steps, "observations": 11,
        "actions": 3,
    }  # fmt: skip


def test_d4rls_own_maze_file(tmp_path, record, refusal):
    n = 3000
    arrays = waves(n, 4) | {"terminals": np.zeros(n, bool)}
    angle = np.arange(n) * 0.02
    arrays["observations"][:, :2] = 2 + 1.5 * np.stack([np.cos(angle), np.sin(angle)], 1)
    for name in ("goal", "qpos", "qvel"):
        arrays[f"infos/{name}"] = np.zeros((n, 2))
    path, out = write(tmp_path / "maze2d-umaze-sparse-v1.hdf5", arrays), tmp_path / "stats.json"
    line = refusal("stats", path, "-o", out, "--normalizer", "limits")
    for option in ("--goal X,Y cuts", "--episode-steps N", "--env gives"):
        assert option in line
    assert "--env" in refusal("stats", path, "-o", out, "--goal", "1,1") and not out.exists()
    record("stats", path, "-o", out, "--env", "maze2d-umaze")
    expected = original_statistics(original_paths(arrays, goal=layout_of("umaze").default_goal), "limits")
    assert json.loads(out.read_text()) == {"normalizer": "LimitsNormalizer", "fields": expected}
    x, y = layout_of("umaze").default_goal
    first = out.read_text()
    record("stats", path, "-o", out, "--goal", f"{x},{y}", "--normalizer", "limits")
    assert out.read_text() == first


def test_what_diffuser_fast_data_wrote_says_it_all(tmp_path, record):
    data = tmp_path / "umaze.hdf5"
    assert record("data", "maze2d-umaze", "-o", data, "--steps", 4000)["n_steps"] == 4000
    made = record("stats", data, "-o", tmp_path / "stats.json")
    assert made["normalizer"] == "LimitsNormalizer" and made["paths"] == len(load_dataset(data))


def test_a_folder_of_the_originals_plans_with_them(tmp_path, record, refusal, folder):
    """The whole way: refused with the command, the command, and then it plans."""
    arrays = waves(3000, 3) | {"timeouts": np.arange(3000) % 100 == 99}
    arrays["actions"] = arrays["actions"][:, :2]
    write(tmp_path / "data.hdf5", arrays)
    obs = ("--obs", json.dumps(arrays["observations"][5].tolist()))
    line = refusal("plan", folder, *obs)
    assert "`diffuser-fast stats DATASET -o stats.json` makes them" in line and "--normalizer stats.json" in line
    stats = tmp_path / "stats.json"
    record("stats", tmp_path / "data.hdf5", "-o", stats, "--normalizer", "gaussian")
    one = record("plan", folder, *obs, "--normalizer", stats)
    record("stats", tmp_path / "data.hdf5", "-o", folder / "normalizer_stats.json", "--normalizer", "gaussian")
    assert record("plan", folder, *obs)["actions"] == one["actions"], "beside the weights it is found by itself"
    assert dfx.Planner(dfx.load(folder, normalizer=stats)).plan({}).actions.shape == (1, 8, 2)


def test_python_says_the_command_too(folder):
    with pytest.raises(ValueError, match=r"`diffuser-fast stats DATASET -o stats.json` makes .*='stats.json'"):
        dfx.Planner(dfx.load(folder))


def test_names_other_than_ours(tmp_path, record, refusal):
    made = waves(500, 3)
    renamed = {"obs/a": made["observations"], "obs/b": made["rewards"], "act": made["actions"]}
    path = write(tmp_path / "a.hdf5", renamed | {"dones": np.arange(500) % 50 == 49})
    out = ("-o", tmp_path / "s.json", "--normalizer", "gaussian")
    line = refusal("stats", path, *out)
    assert "no field 'observations'" in line and "--field observations=NAME says which it is" in line
    fields = [f"--field={text}" for text in ("observations=obs/a,obs/b", "actions=act", "terminals=dones")]
    assert record("stats", path, *out, *fields)["observations"] == 4
    assert "--field: found 'reward'" in refusal("stats", path, *out, "--field=reward=x")
    assert "expected NAME=FOUND" in refusal("stats", path, *out, "--field=obs")


def test_an_environment_the_original_has_not(tmp_path, refusal):
    path = write(tmp_path / "a.hdf5", waves(500, 3), env_id="Lift")
    line = refusal("stats", path, "-o", tmp_path / "s.json")
    assert "'Lift'" in line and "--env" in line and "--normalizer" in line
    assert "--normalizer: found 'x'" in refusal("stats", path, "-o", tmp_path / "s.json", "--normalizer", "x")


def test_foreign_files(tmp_path, refusal):
    for name, content, what in [
        ("a.hdf5", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("b.hdf5", b"<html>", "a web page"),
        ("c.hdf5", b"", "an empty file"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert what in refusal("stats", tmp_path / name, "-o", tmp_path / "s.json", "--env", "hopper")
    line = refusal("stats", tmp_path / "none.hdf5", "-o", tmp_path / "s.json", "--env", "hopper")
    assert "found nothing, expected an HDF5 or NPZ file, or a Minari data set" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hdf5", "b.hdf5", "c.hdf5"]


def test_a_sidecar_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path, one = tmp_path / "s.json", Normalizers(Limits([0.1], [1 / 3]), Limits([-1], [1]))
    write_normalizers(one, path)
    assert read_normalizers(path).to_json() == one.to_json()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_normalizers(Normalizers(Limits([0], [1]), Limits([0], [1])), path)
    assert read_normalizers(path).to_json() == one.to_json() and len(list(tmp_path.iterdir())) == 1


def test_the_documents_example_is_a_sidecar(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    (tmp_path / "s.json").write_text(text.split("```json\n")[1].split("```")[0])
    found = read_normalizers(tmp_path / "s.json")
    assert found.observations.means.tolist() == [1.25, 0.02] and found.actions.dim == 1


def test_a_constant_dimension(tmp_path):
    made = waves(200, 3) | {"timeouts": np.arange(200) % 50 == 49}
    made["observations"][:, 1] = 7
    episodes = load_dataset(write(tmp_path / "a.hdf5", made))
    assert fitted(episodes, "gaussian").observations.stds[1] == 1
    assert fitted(episodes, "limits").observations.mins[1] == 6
