"""Folders as the original lays them out, logs/<environment>/{diffusion, values}/<run>: from any of them to the run."""

import shutil
import warnings

import numpy as np
import pytest
from formats.made import refuses
from formats.originals import DIFFUSION, UNET, VALUE, write_folder
from oracle.networks import TemporalUnet, ValueFunction

from diffuser_fast.formats import load, load_value
from diffuser_fast.formats.janner_runs import descend

ENV, RUN = "hopper-medium-expert-v2", "defaults_H8_T6"


@pytest.fixture
def logs(sound, tmp_path):
    """logs/ with one environment, as scripts/train.py and train_values.py leave it."""
    env = tmp_path / "logs" / ENV
    shutil.copytree(sound / "values", env / "values" / f"{RUN}_d0.99")
    shutil.copytree(sound, env / "diffusion" / RUN, ignore=shutil.ignore_patterns("values"))
    (env / "plans").mkdir()
    (env / "diffusion" / RUN / "args.json").write_text("{}")
    return tmp_path / "logs"


@pytest.mark.parametrize(
    "way", ["", ENV, f"{ENV}/diffusion", f"{ENV}/diffusion/{RUN}", f"{ENV}/diffusion/{RUN}/state_7.pt"]
)
def test_every_folder_on_the_way_leads_to_the_guided_run(logs, sound, way, monkeypatch):
    found, expected = load(logs / way), load(sound)
    np.testing.assert_array_equal(found.unet.arrays["head.out.bias"], expected.unet.arrays["head.out.bias"])
    np.testing.assert_array_equal(found.value.arrays["head.time.bias"], expected.value.arrays["head.time.bias"])
    assert found.metadata["value"]["file"] == "state_3.pt"
    monkeypatch.chdir(logs / ENV / "diffusion" / RUN)
    assert load(".").value is not None


def test_states_beside_each_other_without_runs(logs):
    env = logs / ENV
    for kind in ("diffusion", "values"):
        (run,) = (env / kind).iterdir()
        for file in run.iterdir():
            file.rename(env / kind / file.name)
        run.rmdir()
    assert load(env).value is not None and load(env / "diffusion").value is not None


def test_values_inside_the_run_come_first(logs, sound):
    shutil.copytree(sound / "values", logs / ENV / "diffusion" / RUN / "values")
    (logs / ENV / "values" / f"{RUN}_d0.99" / "state_3.pt").write_bytes(b"")
    assert load(logs).value is not None


def test_only_what_fits_is_taken(logs, tmp_path):
    env = logs / ENV
    longer = {**VALUE, "horizon": 12}
    write_folder(env / "values" / "defaults_H12_T6_d0.99", ValueFunction(**longer), value=True, model=longer)
    assert load(env).value.spec.horizon == 8
    shutil.copytree(env / "values" / f"{RUN}_d0.99", env / "values" / f"{RUN}_d0.997")
    sentence = rf"{RUN}: 2 value networks fit it; pass one of them as value=: .*_d0.99, .*_d0.997"
    refuses(env, sentence)
    assert load(env, value=env / "values" / f"{RUN}_d0.997").value is not None


def test_it_says_that_it_plans_unguided(logs):
    env = logs / ENV
    shutil.rmtree(env / "values" / f"{RUN}_d0.99")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(env).value is None  # there is no value network at all
    longer = {**VALUE, "horizon": 12}
    write_folder(env / "values" / "defaults_H12_T6_d0.99", ValueFunction(**longer), value=True, model=longer)
    with pytest.warns(UserWarning, match=r"unguided, for none of the value networks in .*values fits horizon 8"):
        assert load(env).value is None


def test_several_runs_are_named(logs):
    env = logs / ENV
    write_folder(env / "diffusion" / "other", TemporalUnet(**UNET), model=UNET, diffusion_config=DIFFUSION)
    refuses(env, rf"{ENV}: it has 2 runs; pass one of them: diffusion/{RUN}, diffusion/other")
    refuses(env / "diffusion", rf"diffusion: it has 2 runs; pass one of them: {RUN}, other")
    shutil.copytree(env, logs / "another-v2")
    refuses(logs, r"logs: it has 4 runs; pass one of them: another-v2/diffusion/")


def test_value_networks_by_the_same_ways(logs, sound):
    expected = load_value(sound / "values").arrays["head.time.bias"]
    for way in (ENV, f"{ENV}/values", f"{ENV}/values/{RUN}_d0.99"):
        np.testing.assert_array_equal(load_value(logs / way).arrays["head.time.bias"], expected)
        assert load(logs, value=logs / way).value is not None
    refuses(logs / ENV / "values", "state_3.pt: a value network; it goes beside a U-Net")


def test_the_latest_epoch(logs, sound):
    """The original's own default."""
    assert load(logs, epoch="latest").metadata["epoch"] == 7
    assert load(sound / "state_7.pt", epoch="latest").metadata["epoch"] == 7
    refuses(logs, "no state_newest.pt", epoch="newest", error=FileNotFoundError)


def test_other_folders_are_left_as_they_are(tmp_path, native):
    assert descend(native) == native and descend(tmp_path) == tmp_path
    (tmp_path / "empty" / "diffusion").mkdir(parents=True)
    assert descend(tmp_path / "empty") == tmp_path / "empty"
    refuses(tmp_path / "empty", r"a folder with no state_<epoch>.pt in it \(there is diffusion\)")
