"""Data sets as others write them: read, or refused with what is missing and what would give it."""

import json

import h5py
import numpy as np
import pytest

from diffuser_fast.data import load_dataset, load_stream


def steps(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "observations": rng.normal(size=(n, 4)).astype(np.float32),
        "actions": rng.normal(size=(n, 2)).astype(np.float32),
        "rewards": rng.normal(size=n).astype(np.float32),
    }


def hdf5(path, arrays, **attributes):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.attrs.update(attributes)
    return path


def d4rl_maze(n=400):
    """D4RL's own Maze2D file: no timeouts, terminals all False, and the targets beside the states."""
    made = steps(n)
    angle = np.arange(n) * 0.1
    made["observations"][:, :2] = 2 + 1.5 * np.stack([np.cos(angle), np.sin(angle)], 1)  # round a place near the goal
    infos = {"goal": np.full((n, 2), 3.0), "qpos": made["observations"][:, :2], "qvel": made["observations"][:, 2:]}
    made |= {f"infos/{name}": array for name, array in infos.items()}
    return {**made, "terminals": np.zeros(n, bool)}


def test_d4rls_own_maze_file(tmp_path):
    path = hdf5(tmp_path / "maze2d-umaze-sparse-v1.hdf5", d4rl_maze())
    with pytest.raises(ValueError, match=r"sparse-v1.hdf5: terminals, timeouts: found no step .*goal=\(x, y\) cuts"):
        load_dataset(path)
    episodes = load_dataset(path, goal=(3.0, 3.0))
    assert len(episodes) > 3 and "timeouts" not in episodes.recorded
    stream = load_stream(path)
    assert sorted(stream.infos) == ["goal", "qpos", "qvel"] and not stream.timeouts.any()


@pytest.mark.parametrize("kind", ["hdf5", "npz"])
def test_gymnasiums_names(tmp_path, kind):
    ends = np.arange(40) % 10 == 9
    made = {**steps(), "terminations": ends & (np.arange(40) > 20), "truncations": ends & (np.arange(40) <= 20)}
    if kind == "hdf5":
        path = hdf5(tmp_path / "a.hdf5", made)
    else:
        np.savez(tmp_path / "a.npz", **made)
        path = tmp_path / "a.npz"
    episodes = load_dataset(path)
    assert episodes.lengths.tolist() == [10] * 4 and episodes.terminated.tolist() == [False, False, True, True]


def test_objects_that_nobody_needs(tmp_path):
    made = {**steps(), "timeouts": np.arange(40) == 39}
    np.savez(tmp_path / "a.npz", **made, notes=np.array([{}] * 40), **{"infos/words": np.array([{}] * 40)})
    path = hdf5(tmp_path / "a.hdf5", made)
    with h5py.File(path, "a") as file:
        file["notes"] = np.array(["a", "b"], h5py.string_dtype())
        file["infos/words"] = np.array(["a"] * 40, h5py.string_dtype())
        file["infos/short"] = np.zeros(3)
        file["next_observations"] = np.zeros((39, 4))
        file["metadata/algorithm"] = "sac"
    for name in ("a.npz", "a.hdf5"):
        stream = load_stream(tmp_path / name)
        assert len(stream) == 40 and not stream.infos


def test_objects_that_are_needed(tmp_path):
    np.savez(tmp_path / "a.npz", **{**steps(), "observations": np.array([{}] * 40)})
    path = hdf5(tmp_path / "a.hdf5", {**steps(), "actions": np.array([b"x"] * 40)})
    for file, field in ((tmp_path / "a.npz", "observations"), (path, "actions")):
        with pytest.raises(ValueError, match=f"{file.name}: {field}: found .*, expected numbers$") as caught:
            load_stream(file)
        assert "pickle" not in str(caught.value)


def test_other_names_are_said_by_the_caller(tmp_path):
    made = steps()
    renamed = {"state": made["observations"], "control": made["actions"], "done": np.arange(40) % 10 == 9}
    path = hdf5(tmp_path / "a.hdf5", renamed)
    with pytest.raises(
        ValueError,
        match=r"no field 'observations': found \['control', 'done', 'state'\]; "
        r"fields=\{'observations': NAME\} says which it is",
    ):
        load_dataset(path)
    fields = {"observations": "state", "actions": ["control"], "terminals": "done"}
    episodes = load_dataset(path, fields=fields)
    assert len(episodes) == 4 and episodes.terminated.all() and episodes.recorded == tuple(fields)
    wide = load_stream(path, {**fields, "observations": ["state", "control", "done"]})
    assert wide.observations.shape == (40, 7) and np.array_equal(wide.observations[:, 6], renamed["done"])
    with pytest.raises(ValueError, match=r"a.hdf5: no field 'x' to be actions: found \['control', 'done', 'state'\]"):
        load_dataset(path, fields={**fields, "actions": "x"})
    with pytest.raises(ValueError, match="fields: found 'reward', expected names for observations, actions, rewards"):
        load_dataset(path, fields={"reward": "x"})


def test_episodes_that_end_at_a_cap(tmp_path):
    """As the original cuts data without timeouts: at terminals, and where the environment's cap is reached."""
    path = hdf5(tmp_path / "a.hdf5", {**steps(), "terminals": np.isin(np.arange(40), [4, 29])})
    assert load_dataset(path).lengths.tolist() == [5, 25]
    episodes = load_dataset(path, episode_steps=10)
    assert episodes.lengths.tolist() == [5, 10, 10, 5, 10]
    assert episodes.terminated.tolist() == [True, False, False, True, False]
    plain = hdf5(tmp_path / "b.hdf5", steps())
    assert load_dataset(plain, episode_steps=np.int64(12)).lengths.tolist() == [12, 12, 12]
    marked = hdf5(tmp_path / "c.hdf5", {**steps(), "timeouts": np.arange(40) == 19})
    assert load_dataset(marked, episode_steps=7).lengths.tolist() == [20], "recorded timeouts are believed"
    with pytest.raises(ValueError, match="episode_steps: found 0, expected a whole number at least 1"):
        load_dataset(plain, episode_steps=0)


def robomimic(path, lengths=(5, 3, 7)):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1})
        for i, n in enumerate(lengths):
            demo = file.create_group(f"data/demo_{i}")
            demo["actions"], demo["rewards"] = rng.normal(size=(n, 7)), np.eye(n)[-1]
            demo["dones"], demo["states"] = np.eye(n, dtype=int)[-1] * (i != 1), rng.normal(size=(n, 32))
            for name, size in (("object", 10), ("robot0_eef_pos", 3)):
                demo[f"obs/{name}"] = rng.normal(size=(n, size))
            demo["obs/agentview_image"] = np.zeros((n, 4, 4, 3), np.uint8)
        file["mask/train"] = np.array([b"demo_0"])
    return path


def test_robomimic(tmp_path):
    path = robomimic(tmp_path / "low_dim.hdf5")
    with pytest.raises(
        ValueError, match=r"low_dim.hdf5: episode 0: no field 'observations': found .*'object'"
    ) as caught:
        load_dataset(path)
    assert "robot0_eef_pos" in str(caught.value) and "fields={'observations': NAME}" in str(caught.value)
    episodes = load_dataset(path, fields={"observations": ["object", "robot0_eef_pos"]})
    assert episodes.observations.shape == (15, 13) and episodes.actions.shape == (15, 7)
    assert episodes.lengths.tolist() == [5, 3, 7] and episodes.terminated.tolist() == [True, False, True]
    assert episodes.attributes["env_id"] == "Lift" and episodes.rewards.sum() == 3
    with h5py.File(path) as file:
        np.testing.assert_allclose(episodes.observations[5:8, 10:], file["data/demo_1/obs/robot0_eef_pos"], rtol=1e-6)


def test_robomimic_demos_come_in_the_order_of_their_numbers(tmp_path):
    path = robomimic(tmp_path / "a.hdf5", lengths=range(1, 13))
    assert load_dataset(path, fields={"observations": "object"}).lengths.tolist() == list(range(1, 13))
    with h5py.File(path, "a") as file:
        del file["data/demo_4/obs/object"]
    with pytest.raises(ValueError, match=r"a.hdf5: episode 4: no field 'object', which episode 0 has"):
        load_dataset(path, fields={"observations": "object"})


def test_a_tensor_is_as_good_as_an_array():
    import torch

    from diffuser_fast.data import from_arrays

    made = {name: torch.tensor(array, requires_grad=True) for name, array in steps().items()}
    stream = from_arrays({**made, "timeouts": torch.arange(40) == 39})
    assert stream.timeouts.sum() == 1 and stream.recorded == ("observations", "actions", "rewards", "timeouts")
