"""load: any format by its content, with value networks and statistics from elsewhere, or a bundled one by name."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from formats.made import checkpoint, refuses, same, weights
from formats.originals import SIZES, write_config, write_folder, write_state
from oracle.checkpoint import read_ema
from oracle.goldens import FOLDER, NAMES
from oracle.networks import ValueFunction

from diffuser_fast import pretrained
from diffuser_fast.core.normalizers import Gaussian, Limits
from diffuser_fast.core.schedule import BUFFERS, cosine
from diffuser_fast.core.spec import UNetSpec
from diffuser_fast.formats import FORMATS, load, load_value, save
from diffuser_fast.settings import Settings

HOPPER = FOLDER / "hopper_guided"


def test_a_native_file_by_any_name_and_in_a_folder(native, tmp_path):
    same(load(native), checkpoint())
    same(load(str(native)), checkpoint())
    same(load(tmp_path), checkpoint())
    other = tmp_path / "odd.pt"
    native.rename(other)
    same(load(other), checkpoint())


def test_a_state_file_by_any_name(folder):
    other = folder / "weights.bin"
    (folder / "state_7.pt").rename(other)
    found = load(other)
    assert found.metadata["epoch"] is None and found.metadata["file"] == "weights.bin"


def test_the_original_comes_first_in_a_folder_with_both(folder):
    save(checkpoint(), folder / "converted.safetensors")
    assert load(folder).metadata["format"] == "janner"


@pytest.mark.parametrize("name", NAMES)
def test_conversion_loses_nothing(tmp_path, name):
    before = load(FOLDER / name)
    same(load(save(before, tmp_path / "a.safetensors")), before)


def test_torchs_files_from_before_zip(folder):
    before = load(folder)
    content = torch.load(folder / "state_7.pt", weights_only=True)
    torch.save(content, folder / "state_7.pt", _use_new_zipfile_serialization=False)
    same(load(folder), before)


def test_a_value_network_from_elsewhere(tmp_path):
    shutil.copytree(HOPPER, tmp_path / "run")
    shutil.move(tmp_path / "run" / "values", tmp_path / "elsewhere")
    assert load(tmp_path / "run").value is None
    expected = load(HOPPER)
    converted = save(expected, tmp_path / "a.safetensors")
    for value in (tmp_path / "elsewhere", tmp_path / "elsewhere" / "state_3.pt", converted):
        found, alone = load(tmp_path / "run", value=value), load_value(value)
        for name, array in expected.value.arrays.items():
            np.testing.assert_array_equal(found.value.arrays[name], array)
            np.testing.assert_array_equal(alone.arrays[name], array)
    assert found.metadata["value"]["format"] == "janner"


def test_value_replaces_what_is_there(tmp_path):
    broken = tmp_path / "run"
    shutil.copytree(HOPPER, broken)
    (broken / "values" / "state_3.pt").write_bytes(b"")
    refuses(broken, "state_3.pt")
    assert load(broken, value=HOPPER / "values").value is not None
    other = save(checkpoint(value=None), tmp_path / "a.safetensors")
    assert load(other).value is None
    assert load(other, value=save(checkpoint(), tmp_path / "b.safetensors")).value is not None


def test_values_without_a_state_are_no_values(folder):
    (folder / "values").mkdir()
    (folder / "values" / "notes.txt").write_text("")
    assert load(folder).value is None


def test_value_networks_that_do_not_fit(tmp_path, folder, native):
    refuses(native, "it has no value network", value=save(checkpoint(value=None), tmp_path / "b.safetensors"))
    refuses(native, "state_7.pt: a U-Net, expected a value network", value=folder)
    refuses(HOPPER / "values", "state_3.pt: a value network; it goes beside a U-Net")
    refuses(
        native,
        r"value: .*values was trained with 20 diffusion steps, the U-Net with 6",
        value=HOPPER / "values",
    )
    refuses(FOLDER / "maze_inpaint", "transition_dim is 14, the U-Net's is 6", value=of_steps(tmp_path, 64))
    refuses(native, "none: no such file", value="none", error=FileNotFoundError)


def of_steps(tmp_path, n_steps):
    """The golden's value network in a folder that says it has seen n steps."""

    state = read_ema(HOPPER / "values")
    for name in BUFFERS:
        state[name] = torch.from_numpy(getattr(cosine(n_steps), name).astype(np.float32))
    write_state(tmp_path / "state_1.pt", state)
    shutil.copy(HOPPER / "values" / "model_config.pkl", tmp_path)
    return tmp_path / "state_1.pt"


def test_horizons_may_differ_at_load(folder):
    arguments = {**SIZES, "dim_mults": (1, 4), "horizon": 20}
    write_folder(folder / "values", ValueFunction(**arguments), value=True, model=arguments)
    found = load(folder)
    assert (found.unet.spec.horizon, found.value.spec.horizon) == (8, 20)


def test_statistics(folder, native, tmp_path):
    assert load(folder).normalizers is None
    record = checkpoint().normalizers.to_json()
    beside, given = folder / "normalizer_stats.json", tmp_path / "given.json"
    beside.write_text(json.dumps(record))
    assert isinstance(load(folder).normalizers.observations, Limits)
    fields = {
        "observations": {"means": [1, 2, 3], "stds": [1, 1, 1]},
        "actions": {"means": [0, 0], "stds": [1, 1]},
    }
    given.write_text(json.dumps({"normalizer": "GaussianNormalizer", "fields": fields}))
    for path in (folder, native):
        assert isinstance(load(path, normalizer=given).normalizers.actions, Gaussian)
    write_config(folder / "dataset_config.pkl", "SequenceDataset", {"normalizer": "GaussianNormalizer"})
    refuses(folder, "dataset_config.pkl says GaussianNormalizer, normalizer_stats.json holds .* LimitsNormalizer")
    assert load(folder, normalizer=given).normalizers is not None, "the one beside is not even read"


def test_statistics_that_are_none(native, tmp_path):
    path = tmp_path / "a.json"
    refuses(native, "normalizer: there is no file .*a.json", normalizer=path, error=FileNotFoundError)
    for text in ("", "{", "[" * 100_000):
        path.write_text(text)
        refuses(native, "normalizer: .*a.json is not JSON", normalizer=path)
    path.write_bytes(b"\xff\xfe\x00")
    refuses(native, "normalizer: .*a.json is not JSON", normalizer=path)
    path.write_text("[]")
    refuses(native, "a.json: normalizer: expected a JSON object", normalizer=path)
    shutil.copy(HOPPER / "normalizer_stats.json", path)
    refuses(
        native,
        "a.json: normalizer: statistics are for 3 actions and 11 observations, the network has 2 and 3",
        normalizer=path,
    )


def test_paths_that_do_not_exist(tmp_path):
    refuses(tmp_path / "nope", "nope: no such file or folder, nor a bundled checkpoint", error=FileNotFoundError)


def test_a_native_file_takes_no_facts(native):
    refuses(native, "horizon: cannot be given for .*, a native file says it all", horizon=8, error=TypeError)


def test_unknown_facts(folder):
    with pytest.raises(TypeError, match="colour"):
        load(folder, colour="red")


def test_bundled_names(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    refuses(
        "maze2d",
        r"maze2d: no such file or folder, nor a bundled checkpoint \(there are none\)",
        error=FileNotFoundError,
    )
    save(checkpoint(), tmp_path / "maze2d.safetensors")
    save(checkpoint(), tmp_path / "other.safetensors")
    same(load("maze2d"), checkpoint())
    assert pretrained.names() == ["maze2d", "other"]
    refuses(
        "maze",
        r"maze: no such file or folder, nor a bundled checkpoint \(maze2d, other\)",
        error=FileNotFoundError,
    )
    refuses("../maze2d", "no such file", error=FileNotFoundError)
    with pytest.raises(ValueError, match="pretrained: found 'x', expected one of: maze2d, other"):
        pretrained.path("x")
    # A path that exists wins.
    spec = UNetSpec(16, 5, dim=8, dim_mults=(1,))
    (tmp_path / "maze2d").write_bytes(save(checkpoint(unet=weights(spec)), tmp_path / "c").read_bytes())
    assert load("maze2d").unet.spec == spec


def test_a_planner_that_wheels_leave_out(tmp_path, monkeypatch):
    """It is known by name where a folder has it, and the error says how to get there."""
    monkeypatch.setattr(pretrained, "_FOLDER", tmp_path)
    monkeypatch.setattr(pretrained, "APART", ("large",))
    refuses("large", "large: a planner that wheels leave out.* DIFFUSER_FAST_PLANNERS", error=FileNotFoundError)
    more = tmp_path / "more"
    more.mkdir()
    save(checkpoint(), more / "large.safetensors")
    monkeypatch.setattr(pretrained, "SETTINGS", Settings(planners=more))
    same(load("large"), checkpoint())
    assert pretrained.names() == ["large"] and pretrained.path("large").parent == more


def test_what_wheels_leave_out_is_said_twice_alike():
    with open(Path(__file__).parents[2] / "pyproject.toml", encoding="utf-8") as file:
        left = re.findall(r'"([\w-]+)\.safetensors"', file.read())
    assert left == list(pretrained.APART)


def test_what_is_bundled_loads():
    for name in pretrained.names():
        assert load(name).normalizers is not None


def test_formats_are_listed():
    others = {"diffusers", "cleandiffuser", "diffusion_policy", "lerobot", "decision_diffuser", "kuka"}
    assert set(FORMATS) == {"native", "janner", *others} and all(FORMATS.values())


def test_without_torch_the_cure_is_named(folder):
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from diffuser_fast.formats import load\n"
        "try: load(sys.argv[1])\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert "state_7.pt" in done.stdout and "pip install diffuser-fast[torch]" in done.stdout
