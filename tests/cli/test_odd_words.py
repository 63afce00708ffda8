"""Words that nobody means: each gets a line that says which option, and nothing is lost for them."""

import json

import h5py
import numpy as np
import pytest

from diffuser_fast import load, pretrained
from diffuser_fast.data import from_arrays
from diffuser_fast.data.files import save_stream
from diffuser_fast.train.recipe import Recipe

SMALL = ("--horizon", 8, "--diffusion-steps", 4, "--dim", 8, "--dim-mults", "1,2", "--batch-size", 2)
MAZE, OBS = ("maze2d-umaze", "--preset", "realtime"), ("--obs", "[1, 1, 0, 0]")


def stream(steps=60, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(steps, 4)), "actions": rng.uniform(-1, 1, (steps, 2)),
        "rewards": rng.normal(size=steps), "timeouts": np.arange(steps) % 20 == 19,
    }  # fmt: skip
    return {**arrays, **changes}


@pytest.fixture
def data(tmp_path):
    return save_stream(from_arrays(stream(), {"env_id": "mine"}), tmp_path / "data.hdf5")


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    return path


# --------------------------------------------------------------------------------------------------------- the plan


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--obs", "[[1, 1, 0, 0], [2, 1, 0, 0]]"), "--obs: found lists in it, expected one number for each dimension"),
        (("--obs", '{"0": [1, 2]}'), "--obs: found lists in it"),
        (("--obs", "[" * 100_000), "--obs: not JSON"),
        (("--obs", "[" + "9" * 5000 + ", 1, 0, 0]"), "--obs: "),
        (("--obs", "[1e400, 1, 0, 0]"), "--obs: "),
        ((*OBS, "--condition", '{"0": [1, 1, 0, 0]}'), "--condition: found time 0, which --obs gives already"),
        (
            (*OBS, "--goal", "[2, 1, 0, 0]", "--condition", '{"-1": [1, 1, 0, 0]}'),
            "--condition: found time -1, which --goal gives already",
        ),
        ((*OBS, "--condition", '{"--3": [1, 1, 0, 0]}'), "--condition: expected times as keys"),
        ((*OBS, "--condition", '{"²": [1, 1, 0, 0]}'), "--condition: expected times as keys"),
        ((*OBS, "--batch-size", 3_000_000_000), "--batch-size: found 3000000000, expected a whole number from 1 to"),
        ((*OBS, "--threads", 3_000_000_000), "--threads: found 3000000000, expected a whole number from 1 to 4096"),
        ((*OBS, "--fact", "value=x"), "--fact: found value, which is given otherwise"),
        ((*OBS, "--budget-ms", 1e300), "--budget-ms: "),
    ],
)
def test_a_plan(refusal, words, sentence):
    assert sentence in refusal("plan", *MAZE, *words)


def test_a_guide_on_x0(refusal, record):
    words = ("hopper-medium", "--obs", json.dumps([0.0] * 11), "--on", "x0", "--batch-size", 2)
    line = refusal("plan", *words)
    assert "--guide-steps: found 2, expected at most 1 where the guide acts on x0" in line
    assert record("plan", *words, "--guide-steps", 1)["actions"]


def test_a_backend_that_there_is_not(refusal, tmp_path):
    assert "--backend: found 'nonsense', expected 'auto' or one of cpu" in refusal(
        "certify", MAZE[0], "--backend", "nonsense"
    )


def test_json_is_json_whatever_is_in_it(run, tmp_path):
    path = tmp_path / "planner.safetensors"
    path.write_bytes(pretrained.path("maze2d-umaze").read_bytes())
    path.with_suffix(".presets.json").write_text('{"realtime": {"eta": NaN}}')
    code, out, _ = run("info", path, "--json")

    def refuse(word):
        raise AssertionError(word)

    assert code == 0 and json.loads(out, parse_constant=refuse)


def test_no_checkpoint_at_all(refusal):
    assert "path: found '', expected a path" in refusal("plan", "", *OBS)


@pytest.mark.parametrize(("command", "option"), [("plan", "--picture"), ("rollout", "--gif")])
def test_a_picture_that_could_not_be_written(command, option, refusal, tmp_path):
    """It is said before the work, not after."""
    (tmp_path / "file").write_text("")
    words = OBS if command == "plan" else ("--episodes", 10_000)
    assert f"{option}: " in refusal(command, *MAZE, *words, option, tmp_path / "file" / "x.png")


@pytest.mark.filterwarnings("default:.*beyond the data's limits")
def test_warnings_name_what_was_given(run):
    code, _, err = run("rollout", *MAZE, "--episodes", 2, "--together", 2)
    assert code == 0 and "conditions[" not in err


# ---------------------------------------------------------------------------------------------------------- the data


def test_the_data_set_is_not_written_over(refusal, tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, **stream())
    before = path.read_bytes()
    line = refusal("stats", path, "-o", path, "--normalizer", "gaussian", "--episode-steps", 20)
    assert "--out: " in line and "is the data set itself" in line and path.read_bytes() == before


BROKEN = {
    "steps of another number": ({"short": np.zeros((7, 1))}, "short: found 7 steps, expected 60, as in observations"),
    "a single number": ({"short": np.float32(3)}, "short: found a single number, expected an array with one row"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", ["hdf5", "npz"])
def test_fields_that_do_not_fit_together(name, kind, refusal, tmp_path):
    more, sentence = BROKEN[name]
    path = tmp_path / f"data.{kind}"
    hdf5(path, **stream(**more)) if kind == "hdf5" else np.savez(path, **stream(**more))
    words = ("--normalizer", "gaussian", "--field", "observations=observations,short")
    assert sentence in refusal("stats", path, "-o", tmp_path / "s.json", *words)


@pytest.mark.parametrize("odd", [np.nan, -1.0, 2.0])
def test_flags_are_true_or_false(odd, refusal, tmp_path):
    terminals = np.zeros(60)
    terminals[5] = odd
    path = hdf5(tmp_path / "data.hdf5", **stream(terminals=terminals))
    line = refusal("stats", path, "-o", tmp_path / "s.json", "--normalizer", "gaussian")
    assert f"terminals: found {odd}, expected true or false, 1 or 0" in line


def demos(**changes):
    arrays = {
        "actions": np.zeros((9, 2)),
        "dones": np.arange(9) == 8,
        "obs__o": np.random.default_rng(1).normal(size=(9, 3)),
    }
    one = {f"data__demo_0__{name}": array for name, array in arrays.items()}
    return one | {f"data__demo_1__{name}": array for name, array in {**arrays, **changes}.items() if array is not None}


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (demos(actions=np.zeros((9, 3))), "episode 1: actions: found rows of shape [3], expected [2], as in the first"),
        (demos(dones=np.zeros((9, 2))), "episode 1: terminals: found"),
        ({**demos(), "data__demo_2": np.zeros(3)}, "data/demo_2: found an array, expected a group of them"),
        ({"data__demo_0": np.zeros(3)}, "data/demo_0: found an array, expected a group of them"),
    ],
)
def test_demonstrations(arrays, sentence, refusal, tmp_path):
    path = hdf5(tmp_path / "demos.hdf5", **arrays)
    words = ("--normalizer", "gaussian", "--field", "observations=o")
    assert sentence in refusal("stats", path, "-o", tmp_path / "s.json", *words)


def test_links_inside_a_file_are_followed(record, tmp_path):
    arrays = stream()
    path = hdf5(tmp_path / "data.hdf5", **{f"kept__{name}": array for name, array in arrays.items()})
    with h5py.File(path, "a") as file:
        for name in arrays:
            file[name] = h5py.SoftLink(f"/kept/{name}")
    assert record("stats", path, "-o", tmp_path / "s.json", "--normalizer", "gaussian")["paths"] == 3


def test_a_compression_that_nobody_knows(refusal, tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **stream())
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = raw.find(mark)
        while at >= 0:
            raw[at + offset] = 97  # a method of WavPack
            at = raw.find(mark, at + 4)
    path.write_bytes(raw)
    assert "found a damaged NPZ file" in refusal("stats", path, "-o", tmp_path / "s.json", "--normalizer", "gaussian")


def test_episode_steps_of_none(refusal, data, tmp_path):
    words = ("-o", tmp_path / "s.json", "--env", "hopper", "--episode-steps", 0)
    assert "'--episode-steps': 0 is not in the range" in refusal("stats", data, *words)


# ------------------------------------------------------------------------------------------------------- the training


def test_attributes_of_all_kinds_are_kept_or_left_out(run, data, tmp_path):
    with h5py.File(data, "a") as file:
        file.attrs["nothing"] = h5py.Empty("f4")
        file.attrs["words"] = np.array([b"a", b"b"])
        file.attrs["unknown"] = np.nan
    code, _, err = run("train", data, "-o", tmp_path / "run", *SMALL, "--steps", 4, "--save-every", 2)
    assert code == 0, err
    said = load(tmp_path / "run" / "planner.safetensors").metadata["data"]
    assert said["words"] == ["a", "b"] and said["unknown"] == "nan" and "nothing" not in said


def test_a_run_that_never_began_blocks_no_folder(run, refusal, data, tmp_path):
    words = ("train", data, "-o", tmp_path / "run", *SMALL, "--steps", 2)
    assert "--seed: found 99999999999999999999, expected a number from 0 to 4294967295" in refusal(
        *words, "--seed", 99999999999999999999
    )
    recipe = tmp_path / "run" / "recipe.json"
    recipe.parent.mkdir(exist_ok=True)
    recipe.write_text('{"seed": 5, "lr": 0.5}')  # of a run that was killed before its first save
    assert run(*words, "--seed", 7)[0] == 0
    assert json.loads(recipe.read_text())["lr"] == Recipe().lr  # nothing of it is left
    assert "has other values of seed" in refusal(*words, "--seed", 8)


def test_the_fields_that_differ_are_named(refusal, data, tmp_path):
    line = refusal("train", data, "-o", tmp_path / "run", *SMALL, "--from", "maze2d-umaze", "--diffusion-steps", 64)
    assert "dim 32, not the 8" in line and "dim_mults (1, 4, 8), not the (1, 2)" in line and "UNetSpec(" not in line


def test_a_seed_that_no_file_holds(refusal, tmp_path):
    words = ("--seed", 99999999999999999999, "--steps", 200, "-o", tmp_path / "x.hdf5")
    assert "'--seed'" in refusal("data", "maze2d-umaze", *words)
