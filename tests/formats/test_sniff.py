"""Files that are none of ours, cut short or hostile: they are called what they are, and nothing of them is run."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from formats.made import checkpoint, refuses

from diffuser_fast.formats import load, load_value, save


def archive(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(name, b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x93NUMPY\x01\x00", "a numpy array"),
        (archive("x.npy"), "a numpy archive"),
        (archive("x.txt"), "a zip archive"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"<!DOCTYPE html>", "a web page"),
        (b'{"a": 1}', "JSON"),
        (pickle.dumps({"a": 1}), "a bare pickle"),
        (b"nothing at all", "nothing known"),
        (b"abc", "nothing known"),
    ],
)
def test_foreign_files(tmp_path, content, what):
    path = tmp_path / "a"
    path.write_bytes(content)
    refuses(path, f"a: looks like {what}.*; readable are .*safetensors.* and a folder")
    with pytest.raises(ValueError, match=f"looks like {what}"):
        load_value(path)


def test_foreign_folders(tmp_path, native):
    refuses(
        (tmp_path / "x").mkdir() or tmp_path / "x",
        r"a folder with no state_<epoch>.pt in it \(there is nothing\); readable are",
    )
    save(checkpoint(), tmp_path / "b.safetensors")
    refuses(tmp_path, "a folder with 2 .safetensors files; pass one of them: a.safetensors, b.safetensors")
    hub = tmp_path / "hub"
    (hub / "unet").mkdir(parents=True)
    (hub / "unet" / "config.json").write_text("{}")
    refuses(hub, "scheduler_config.json", error=FileNotFoundError)
    refuses(hub / "unet", "looks like a model of the Hugging Face hub by itself; pass the pipeline's folder, above it")


def test_a_truncated_state(folder):
    path = folder / "state_7.pt"
    whole = path.read_bytes()
    for size in (4, 5, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        refuses(path, "state_7.pt: cut short or damaged|state_7.pt: cut short or not a checkpoint")
        refuses(folder, "state_7.pt: ")
    path.write_bytes(b"")
    refuses(folder, "state_7.pt: ")


def test_a_state_that_is_damaged_inside(folder):
    path = folder / "state_7.pt"
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[int(rng.integers(2000))] ^= 0xFF
        path.write_bytes(damaged)
        try:
            load(folder)
        except ValueError as error:
            assert "state_7.pt" in str(error) and "\n" not in str(error)


class Asks:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.skipif(os.name != "posix", reason="os.system has another name")
def test_a_state_that_would_run_code(folder, tmp_path):
    canary = tmp_path / "canary"
    for new in (True, False):
        torch.save({"step": 1, "ema": Asks(canary)}, folder / "state_7.pt", _use_new_zipfile_serialization=new)
        refuses(
            folder,
            r"state_7.pt: refused by torch's weights_only reader: its pickle asks for posix.system; nothing was run",
        )
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"step": 1, "model": {}}, "model, step"),
        ([1], "list"),
        ({"ema": 3}, "ema"),
        ({"ema": {"a": 3}}, "ema"),
    ],
)
def test_states_that_hold_something_else(folder, content, found):
    torch.save(content, folder / "state_7.pt")
    refuses(folder, rf"state_7.pt: expected a record with 'step', 'model' and 'ema', found {found}$")
