"""What a folder leads to is looked at as what is named itself is, and no message ever advises to give up safety."""

import json
import os
import pickle
import re
import shutil
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from formats.made import checkpoint

from diffuser_fast.formats import load, load_value, save
from diffuser_fast.train.state import load_state

# What a careless message would say; torch's and numpy's own do.
UNSAFE = re.compile(
    r"weights_only\W*(=|to|set)|allow_pickle|add_safe_globals|unsafe|trust|pickle_module|Re-running", re.I
)


def zeros(whole):
    return b"\0" * len(whole)


DAMAGED = {
    "pointer": (lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS"),
    "page": (lambda whole: b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    "page with a mark": (lambda whole: b"\xef\xbb\xbf<html></html>", "a web page"),
    "empty": (lambda whole: b"", "an empty file"),
    "zeros": (zeros, "nothing but zeros"),
    "text": (lambda whole: b"Not Found", "nothing known"),
    "json": (lambda whole: b'{"error": "not found"}', "JSON"),
    "start": (lambda whole: whole[: len(whole) // 2], "cut short or damaged"),
    "end": (lambda whole: whole[len(whole) // 2 :], "nothing known"),
    "pickle": (lambda whole: pickle.dumps({"ema": {}}), "a bare pickle"),
    "middle": (lambda whole: whole[:3000] + b"\0" * 3000 + whole[6000:], "damaged|cut short"),
}


def said(call, *arguments, **keywords):
    """The one sentence of the refusal."""
    with pytest.raises(ValueError) as caught:
        call(*arguments, **keywords)
    sentence = str(caught.value)
    assert "\n" not in sentence and not UNSAFE.search(sentence), sentence
    return sentence


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("file", ["state_7.pt", "values/state_3.pt"])
def test_a_state_behind_a_folder(guided, file, damage):
    spoil, what = DAMAGED[damage]
    (guided / file).write_bytes(spoil((guided / file).read_bytes()))
    sentence = said(load, guided)
    assert sentence.startswith(f"{guided / file}: ") and re.search(what, sentence), sentence


@pytest.mark.parametrize("damage", sorted(set(DAMAGED) - {"middle"}))
def test_a_value_network_that_is_named(guided, native, damage):
    spoil, what = DAMAGED[damage]
    state = guided / "values" / "state_3.pt"
    state.write_bytes(spoil(state.read_bytes()))
    for path in (guided / "values", state):
        assert re.search(what, said(load_value, path))
        assert re.search(what, said(load, native, value=path))


@pytest.mark.parametrize("damage", sorted(set(DAMAGED) - {"middle", "start"}))
def test_a_native_file_behind_a_folder(native, damage):
    spoil, what = DAMAGED[damage]
    native.write_bytes(spoil(native.read_bytes()))
    sentence = said(load, native.parent)
    assert "a.safetensors" in sentence and re.search(what.replace("nothing known", "JSON header"), sentence), sentence


@pytest.mark.parametrize("damage", ["pointer", "page", "empty", "zeros"])
def test_configurations_and_statistics_behind_a_folder(guided, damage):
    spoil, what = DAMAGED[damage]
    for name, good in (
        ("model_config.pkl", (guided / "model_config.pkl").read_bytes()),
        ("normalizer_stats.json", json.dumps(checkpoint().normalizers.to_json()).encode()),
    ):
        (guided / name).write_bytes(spoil(good))
        sentence = said(load, guided)
        assert name in sentence and re.search(what, sentence), sentence
        (guided / name).write_bytes(good)


@pytest.mark.parametrize("damage", sorted(set(DAMAGED) - {"middle"}))
def test_a_training_state(tmp_path, damage):
    spoil, _ = DAMAGED[damage]
    path = tmp_path / "training.pt"
    torch.save({"step": 1, "net": {"a": torch.zeros(2000)}}, path)
    path.write_bytes(spoil(path.read_bytes()))
    assert "training.pt: not a training state" in said(load_state, path)


class Asks:
    def __reduce__(self):
        return os.system, ("touch canary",)


class Odd:
    """Some class of somebody's, as in an optimizer's state or a tracker's."""

    value = 3


@pytest.mark.parametrize("what", [Asks(), Odd(), Odd, np.array([{}], object), torch.nn.ReLU()], ids=range(5))
def test_a_state_that_asks_for_more_than_data(guided, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = torch.load(guided / "state_7.pt", weights_only=True)
    for protocol in (2, 4):
        torch.save({**content, "extra": what}, guided / "state_7.pt", pickle_protocol=protocol)
        assert "nothing was run" in said(load, guided)
    assert not (tmp_path / "canary").exists()


def test_numbers_paths_and_slices_in_a_state(guided):
    """What trainers keep beside the weights."""
    before = load(guided)
    content = torch.load(guided / "state_7.pt", weights_only=True)
    beside = {
        "step": np.int64(7), "loss": np.float32(0.5), "best": np.float64(0.25), "flag": np.bool_(True),
        "name": np.str_("run"), "path": PurePosixPath("/a/b"), "folder": guided, "part": slice(0, 10, None),
        "losses": np.arange(6.0).reshape(2, 3), "by columns": np.asfortranarray(np.eye(2)), "big": np.array(1, ">i4"),
        "size": torch.Size([1, 2]), "kind": torch.float32, "device": torch.device("cpu"),
    }  # fmt: skip
    torch.save({**content, **beside}, guided / "state_7.pt")
    after = load(guided)
    assert after.metadata["step"] == 7 and type(after.metadata["step"]) is int
    for name, array in before.unet.arrays.items():
        np.testing.assert_array_equal(after.unet.arrays[name], array)


def test_arrays_of_numpy_as_weights(guided):
    before = load(guided)
    content = torch.load(guided / "state_7.pt", weights_only=True)
    content["ema"] = {key: value.numpy() for key, value in content["ema"].items()}
    torch.save(content, guided / "state_7.pt")
    for name, array in before.unet.arrays.items():
        np.testing.assert_array_equal(load(guided).unet.arrays[name], array)


def test_a_native_file_cast_to_bfloat16(native, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(native, "pt") as file:
        metadata = file.metadata()
    half = {k: v.bfloat16() if not k.startswith("schedule") else v for k, v in load_file(native).items()}
    save_file(half, tmp_path / "half.safetensors", metadata)
    before, after = load(native), load(tmp_path / "half.safetensors")
    for name, array in before.unet.arrays.items():
        np.testing.assert_array_equal(after.unet.arrays[name], torch.tensor(array).bfloat16().float().numpy())
    assert save(after, tmp_path / "again.safetensors").is_file()


def test_a_copy_of_a_folder_whose_large_files_were_not_fetched(guided, tmp_path):
    """As `git clone` without LFS leaves it: everything is a pointer."""
    clone = shutil.copytree(guided, tmp_path / "clone")
    for path in clone.rglob("*.p*"):
        path.write_bytes(DAMAGED["pointer"][0](b""))
    assert "git lfs pull" in said(load, clone)
