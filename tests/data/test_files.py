"""Files: what is written is what is read, foreign files are refused by name, old files survive accidents."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from diffuser_fast.data import from_arrays, load_dataset, load_stream, save_stream

FIELDS = ("observations", "actions", "rewards", "terminals", "timeouts")


def stream(n=50, seed=0):
    rng = np.random.default_rng(seed)
    made = {
        "observations": rng.normal(size=(n, 4)),
        "actions": rng.normal(size=(n, 2)),
        "rewards": rng.normal(size=n),
        "terminals": rng.random(n) < 0.1,
        "timeouts": np.arange(n) == n - 1,
        "infos/goal": rng.normal(size=(n, 2)).astype(np.float32),
    }
    attributes = {
        "env_id": "maze2d-umaze-v1",
        "seed": 7,
        "noisy": False,
        "default_goal": np.array([1.0, 2.0]),
    }
    return from_arrays(made, attributes)


def same(a, b):
    return all(
        np.array_equal(getattr(a, f), getattr(b, f)) and getattr(a, f).dtype == getattr(b, f).dtype for f in FIELDS
    )


def test_hdf5_round_trip(tmp_path):
    path = save_stream(stream(), tmp_path / "deep" / "a.hdf5")
    read = load_stream(path)
    assert same(read, stream()) and read.source == str(path)
    assert np.array_equal(read.infos["goal"], stream().infos["goal"])
    assert read.attributes["env_id"] == "maze2d-umaze-v1" and read.attributes["seed"] == 7
    assert read.attributes["noisy"] is False and read.attributes["default_goal"].tolist() == [1.0, 2.0]


def test_hdf5_layout_is_d4rls(tmp_path):
    save_stream(stream(), tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert {name: file[name].dtype.kind for name in FIELDS} == dict(zip(FIELDS, "fffbb"))
        assert file["observations"].shape == (50, 4) and file["infos/goal"].shape == (50, 2)


def test_npz_is_told_by_content_not_by_name(tmp_path):
    s = stream()
    with (tmp_path / "a.hdf5").open("wb") as file:
        np.savez(file, **{name: getattr(s, name) for name in FIELDS}, extra=np.arange(3))
    assert same(load_stream(tmp_path / "a.hdf5"), s)


def test_other_groups_of_d4rl_files_are_left_alone(tmp_path):
    path = save_stream(stream(), tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file["metadata/policy/weight"] = np.zeros((3, 3))
        file["next_observations"] = np.zeros((50, 4))
        file["infos/sizes"] = 3
        file.attrs["note"] = np.bytes_(b"hello")
    read = load_stream(path)
    assert same(read, stream()) and list(read.infos) == ["goal"] and read.attributes["note"] == "hello"


def test_load_dataset_uses_the_files_goal_or_the_callers(tmp_path):
    xy = np.array([0, 1, 2, 3, 2, 1, 0, 1, 2, 3], dtype=float)
    made = {
        "observations": np.stack([xy, 0 * xy], 1),
        "actions": np.zeros((10, 1)),
        "timeouts": np.arange(10) == 4,
    }
    plain = save_stream(from_arrays(made), tmp_path / "plain.hdf5")
    marked = save_stream(from_arrays(made, {"default_goal": np.array([0.0, 0.0])}), tmp_path / "marked.hdf5")
    assert load_dataset(plain).lengths.tolist() == [5]  # the timeout
    assert load_dataset(marked).lengths.tolist() == [5]  # leaves 0 at 0 (one step, lost) and at 6
    assert load_dataset(marked).observations[:, 0].tolist() == [1, 2, 3, 2, 1]
    assert load_dataset(marked, goal=(3.0, 0.0)).lengths.tolist() == [3]
    assert load_dataset(plain, goal=[3.0, 0.0]).observations[:, 0].tolist() == [0, 1, 2]


def test_foreign_and_damaged_files_are_refused_by_name(tmp_path):
    good = save_stream(stream(4000), tmp_path / "good.hdf5").read_bytes()
    np.savez(tmp_path / "good.npz", observations=np.zeros((400, 4)), actions=np.zeros((400, 2)))
    npz = (tmp_path / "good.npz").read_bytes()
    np.savez(tmp_path / "objects.npz", observations=np.array([{}]), actions=np.array([{}]))
    with h5py.File(tmp_path / "group.hdf5", "w") as file:
        file["observations"] = np.zeros((3, 2))
        file.create_group("actions")
    for name, content, message in [
        ("text.hdf5", b"hello world", "begins with b'hello wo', expected an HDF5 or NPZ file"),
        ("empty.hdf5", b"", "found an empty file, expected an HDF5 or NPZ file"),
        ("short.hdf5", good[: len(good) // 2], "damaged HDF5 file"),
        ("head.hdf5", good[:100], "damaged HDF5 file"),
        ("rot.hdf5", good[:30000] + b"\xff" * 40000 + good[70000:], "damaged HDF5 file"),
        ("short.npz", npz[: len(npz) // 2], "damaged NPZ file"),
        ("objects.npz", None, "observations: found Python objects or a damaged array, expected numbers"),
        ("pointer.hdf5", b"version https://git-lfs.github.com/spec/v1\n", "found a pointer of Git LFS; `git lfs pull`"),
        ("page.hdf5", b"<!DOCTYPE html>", "found a web page"),
        ("group.hdf5", None, r"no field 'actions': found \['observations'\]"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: .*{message}"):
            load_stream(tmp_path / name)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.hdf5: found nothing, expected an HDF5 or NPZ file"):
        load_stream(tmp_path / "none.hdf5")
    with pytest.raises(FileNotFoundError, match="found a folder"):
        load_stream(tmp_path)
    with pytest.raises(IsADirectoryError, match="found a folder, expected the name of a file"):
        save_stream(stream(), tmp_path)


def test_a_file_without_actions_shows_what_it_has(tmp_path):
    for path, save in (("a.hdf5", h5py.File), ("a.npz", None)):
        if save is None:
            np.savez(tmp_path / path, observations=np.zeros((3, 2)), states=np.zeros(3))
        else:
            with save(tmp_path / path, "w") as file:
                file["observations"], file["states"] = np.zeros((3, 2)), np.zeros(3)
        with pytest.raises(ValueError, match=rf"{path}: no field 'actions': found \['observations', 'states'\]"):
            load_stream(tmp_path / path)


@pytest.mark.parametrize("accident", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_accident_while_writing_keeps_the_old_file(tmp_path, monkeypatch, accident):
    path = save_stream(stream(seed=1), tmp_path / "a.hdf5")
    before, real, calls = path.read_bytes(), h5py.Group.create_dataset, []

    def failing(self, name, *args, **kwargs):
        calls.append(name)
        if name == "rewards":
            raise accident
        return real(self, name, *args, **kwargs)

    monkeypatch.setattr(h5py.Group, "create_dataset", failing)
    with pytest.raises(type(accident)):
        save_stream(stream(seed=2), path)
    assert calls == ["observations", "actions", "rewards"]  # it was half written
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.hdf5"]


def test_a_kill_while_writing_keeps_the_old_file(tmp_path):
    path = save_stream(stream(seed=1), tmp_path / "a.hdf5")
    before = path.read_bytes()
    program = (
        "import os, sys, numpy as np, diffuser_fast.data.files as files\n"
        "from diffuser_fast.data import from_arrays, save_stream\n"
        "real = files._write\n"
        "def dying(file, name, array):\n"
        "    real(file, name, array); file.flush()\n"
        "    if name == 'timeouts': os._exit(9)\n"
        "files._write = dying\n"
        "arrays = {'observations': np.zeros((9, 2)), 'actions': np.zeros((9, 1))}\n"
        "save_stream(from_arrays(arrays), sys.argv[1])\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 9
    assert path.read_bytes() == before and same(load_stream(path), stream(seed=1))


def test_importing_data_loads_no_h5py_and_its_absence_names_the_cure(tmp_path):
    path = save_stream(stream(), tmp_path / "a.hdf5")
    program = (
        "import sys, diffuser_fast.data as data\n"
        "assert not {'h5py', 'torch', 'mujoco', 'gymnasium'} & set(sys.modules)\n"
        "sys.modules['h5py'] = None\n"
        "try: data.load_stream(sys.argv[1])\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "HDF5 files need h5py: pip install diffuser-fast[envs]\n"
