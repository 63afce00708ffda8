"""Minari's data sets, written and read by Minari itself."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

minari = pytest.importorskip("minari")  # an extra of its own; requirements/dev.txt has it

from diffuser_fast.data import load_dataset  # noqa: E402

LENGTHS = (6, 4, 9)
# What Minari says while it writes; reading must be silent.
pytestmark = pytest.mark.filterwarnings("ignore:.*(is set to|env_spec is) None:UserWarning")


def episode(number, n, dictionary):
    rng = np.random.default_rng(number)
    observations = rng.normal(size=(n + 1, 3)).astype(np.float32)
    if dictionary:
        observations = {"observation": observations, "desired_goal": rng.normal(size=(n + 1, 2)).astype(np.float32)}
    ends = np.arange(n) == n - 1
    return minari.data_collector.EpisodeBuffer(
        id=number, observations=observations, actions=rng.normal(size=(n, 2)).astype(np.float32),
        rewards=rng.normal(size=n), terminations=ends & (number == 1), truncations=ends & (number != 1), infos={},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of Minari's own with one data set, ``test/waves-v0``; ``make(dictionary)`` makes it."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    box, force = (gymnasium.spaces.Box(-np.inf, np.inf, (n,), np.float32) for n in (3, 2))

    def make(dictionary=False):
        space = gymnasium.spaces.Dict({"observation": box, "desired_goal": force}) if dictionary else box
        minari.create_dataset_from_buffers(
            "test/waves-v0", [episode(i, n, dictionary) for i, n in enumerate(LENGTHS)],
            observation_space=space, action_space=force, algorithm_name="waves",
            author="a", author_email="a", code_permalink="a", description="a",
        )  # fmt: skip
        return tmp_path / "store" / "test" / "waves-v0"

    return make


def test_by_name_by_folder_and_by_file(store):
    folder = store()
    for path in ("test/waves-v0", folder, folder / "data", folder / "data" / "main_data.hdf5"):
        episodes = load_dataset(path)
        assert episodes.lengths.tolist() == list(LENGTHS) and episodes.terminated.tolist() == [False, True, False]
        expected = np.concatenate([episode(i, n, False).observations[:-1] for i, n in enumerate(LENGTHS)])
        np.testing.assert_array_equal(episodes.observations, expected)
        assert episodes.attributes["dataset_id"] == "test/waves-v0" and "rewards" in episodes.recorded


def test_observations_that_are_dictionaries(store):
    folder = store(dictionary=True)
    with pytest.raises(ValueError, match=r"no field 'observations': found .*'observations/desired_goal'.*fields="):
        load_dataset(folder)
    both = ["observations/observation", "observations/desired_goal"]
    assert load_dataset(folder, fields={"observations": both}).observations.shape == (sum(LENGTHS), 5)


def test_data_sets_that_cannot_be_read(store):
    folder = store()
    metadata = folder / "data" / "metadata.json"
    record = json.loads(metadata.read_text())
    record["env_spec"] = json.dumps({"id": "x-v0", "entry_point": "os:system", "kwargs": {"command": "touch canary"}})
    del record["observation_space"]
    metadata.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"waves-v0: its metadata.json lacks observation_space or action_space"):
        load_dataset(folder)
    assert not list(folder.rglob("canary"))
    metadata.write_text("{")
    with pytest.raises(ValueError, match=r"waves-v0: its metadata.json is not JSON"):
        load_dataset(folder)
    metadata.unlink()
    with pytest.raises(ValueError, match=r"main_data.hdf5: found Minari's data without its metadata.json"):
        load_dataset(folder / "data" / "main_data.hdf5")


def test_damaged_data(store):
    folder = store()
    file = folder / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ValueError, match="waves-v0: found a damaged Minari data set"):
        load_dataset(folder)


def test_names_that_are_in_no_store(store):
    with pytest.raises(FileNotFoundError, match=r"test/none-v0: found nothing, expected .* or a Minari data set"):
        load_dataset("test/none-v0")


def test_without_minari_the_cure_is_named(store):
    folder = store()
    program = (
        "import sys, diffuser_fast.data as data\n"
        "sys.modules['minari'] = None\n"
        "try: data.load_dataset(sys.argv[1])\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
    assert "waves-v0: a Minari data set; pip install diffuser-fast[minari] reads it" in done.stdout
