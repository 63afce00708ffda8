"""Data is shown as it is: brackets and colons in it mean nothing to the screen."""

import json

import pytest

from diffuser_fast.cli import doctor, show
from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.core.spec import UNetSpec
from diffuser_fast.formats import native

ODD = [
    "diffuser-fast[torch]",
    "[/bold]",
    "[red]x[/red]",
    ":smile:",
    "[link=a]b",
    "{task.nothing}",
    "100 %",
    "\\[x]",
    "é",
]


@pytest.mark.parametrize("text", ODD)
def test_tables(text, capsys):
    show.table(text, ["", text], [[text, "1"], ["name", text]])
    assert capsys.readouterr().out.count(text) == 4


@pytest.mark.parametrize("text", ODD)
def test_progress(text, capsys):
    with show.progress(text, 2) as update:
        update(1, note=text)
        update(2, note=text)
    assert text in capsys.readouterr().err


def test_what_a_person_typed_into_a_checkpoint(tmp_path, run, record):
    checkpoint = random_checkpoint(UNetSpec(16, 6, dim=16, dim_mults=(1, 2)), n_train=4)
    checkpoint.metadata.update({"note": "[/see] [torch]", "[tag]": ":smile:", "env": "[red]maze2d-umaze"})
    path = native.save(checkpoint, tmp_path / "[odd].safetensors")
    code, out, err = run("info", path)
    assert code == 0, err
    for text in ("[/see] [torch]", "[tag]", ":smile:", "[red]maze2d-umaze"):
        assert text in out
    assert record("info", path)["metadata"]["[tag]"] == ":smile:"


def test_doctor_names_extras_in_full(run, monkeypatch):
    reason = "backend 'triton' needs triton: pip install diffuser-fast[gpu]"
    found = doctor.examine()
    found["backends"]["triton"] = reason
    monkeypatch.setattr(doctor, "examine", lambda: found)
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run("doctor")
    assert code == 0 and reason in out


def test_records_of_numpys_numbers(capsys):
    import numpy as np

    show.emit({"a": np.float32(0.5), "b": np.arange(2), "c": {"d": np.int64(3)}})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [0, 1], "c": {"d": 3}}
