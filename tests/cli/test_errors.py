"""Errors are for whoever can mend them: options by their names for people, tracebacks for us."""

import ast
import dataclasses
import re
import sys
import warnings
from pathlib import Path

import click
import numpy as np
import pytest

from diffuser_fast import cli
from diffuser_fast.cli import info as info_command
from diffuser_fast.cli.errors import is_deliberate, option_of
from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.core.normalizers import Limits, Normalizers
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.formats import native

SIZES = {"horizon": 16, "transition_dim": 6, "dim": 32, "dim_mults": (1, 2)}
ROOT = Path(__file__).resolve().parents[2]
OBS = ("--obs", "[0, 0, 0, 0]")
# How Python spells an argument with its value, or a call.
PYTHON = re.compile(r"\b[a-z_]{3,}=(?!=)|\bload\(")


@pytest.fixture
def planner(tmp_path):
    limits = Normalizers(*(Limits([-1.0] * n, [1.0] * n) for n in (4, 2)))
    checkpoint = dataclasses.replace(random_checkpoint(UNetSpec(**SIZES), n_train=4), normalizers=limits)
    return native.save(checkpoint, tmp_path / "planner.safetensors")


@pytest.fixture
def bare(tmp_path):
    """One without statistics, whose value network is of another horizon."""
    checkpoint = random_checkpoint(UNetSpec(**SIZES), ValueSpec(**SIZES), n_train=4)
    return native.save(dataclasses.replace(checkpoint, normalizers=None), tmp_path / "bare.safetensors")


@pytest.fixture
def lost(tmp_path):
    """A folder of the original's whose configurations are lost."""
    from formats.originals import UNET, write_folder, write_state
    from oracle.networks import TemporalUnet

    state = write_folder(tmp_path / "lost", TemporalUnet(**UNET))
    del state["loss_fn.weights"]  # they would say the horizon
    write_state(tmp_path / "lost" / "state_7.pt", state)
    return tmp_path / "lost"


def test_options_are_named_as_they_are_typed(planner, bare, lost, refusal, tmp_path):
    for words, sentence in [
        (("plan", planner, *OBS, "--batch-size", 0), "--batch-size: found 0, expected a whole number from 1"),
        (("plan", planner, *OBS, "--n-steps", 9), "--n-steps: found 9, expected a whole number from 1 to 4"),
        (("plan", planner, *OBS, "--eta", 0.5), "--sampler: ddpm takes no eta"),
        (("plan", planner, *OBS, "--cores", "9999"), "--cores: "),
        (("plan", planner, "--obs", "[1]"), "--obs: expected an observation of shape [4] or [E, 4], found [1]"),
        (("plan", planner, "--obs", '"here"'), "--obs: expected numbers, found str"),
        (("plan", planner, "--obs", '{"7": 1}'), "--obs: dimension 7 is not one of 0 .. 3"),
        (("plan", planner, *OBS, "--goal", "[1]"), "--goal: expected an observation"),
        (("plan", planner, *OBS, "--condition", '{"3": [1]}'), "--condition [3]: expected an observation"),
        (("plan", bare, *OBS), "CHECKPOINT: it has no normaliser statistics"),
        (("plan", bare, *OBS), "`diffuser-fast stats DATASET -o stats.json` makes them"),
        (("plan", bare, *OBS), "--normalizer stats.json adds them"),
        (("plan", planner, *OBS, "--guide", "rank"), "--guide: the checkpoint has no value network (--value PATH adds"),
        (("plan", planner, *OBS, "--normalizer", "none.json"), "--normalizer: there is no file none.json"),
        (("info", lost), "its horizon is not known: no model_config.pkl is beside it; pass --trained-horizon"),
        (("info", lost, "--trained-horizon", 8), "pass --action-dim, --prediction, --clip-denoised to load it"),
        (("info", planner, "--trained-horizon", 8), "--trained-horizon: cannot be given for"),
        (("info", planner, "--value", planner), "it has no value network"),
    ]:
        line = refusal(*words)
        assert sentence in line, (sentence, line)
        assert not PYTHON.search(line), line
    facts = ("--trained-horizon", 8, "--action-dim", 2, "--prediction", "x0", "--no-clip-denoised")
    assert cli.main(["info", str(lost), *map(str, facts)]) == 0


def test_words_that_are_no_json_of_conditions(planner, refusal):
    for words, sentence in [
        (("--condition", "[1, 2]"), "--condition: expected times as keys"),
        (("--condition", '{"soon": [1]}'), "--condition: expected times as keys"),
        (("--condition", '{"3": {"x": 1}}'), "--condition: found ['x'], expected dimensions as keys"),
        (("--goal", '{"1.5": 1}'), "--goal: found ['1.5'], expected dimensions as keys"),
        (("--cores", "a"), "'--cores': found 'a', expected cores like 2,3"),
    ]:
        assert sentence in refusal("plan", planner, *OBS, *words)


def test_some_dimensions_of_an_observation(planner, record):
    found = record("plan", planner, "--obs", '{"0": 0.25, "3": -0.5}', "--goal", '{"1": 0.125}')
    assert found["observations"][0][0] == 0.25 and found["observations"][0][3] == -0.5
    assert found["observations"][-1][1] == 0.125


def test_a_tape_and_a_chain(planner, record, refusal, tmp_path):
    np.save(tmp_path / "tape.npy", np.zeros((5, 1, 16, 6), np.float32))
    found = record("plan", planner, *OBS, "--noise", tmp_path / "tape.npy", "--chain")
    assert np.shape(found["chain"]) == (5, 16, 6) and found["clipped"] is False
    np.save(tmp_path / "objects.npy", np.array([{}]))
    (tmp_path / "page.npy").write_bytes(b"<html>")
    for name in ("objects", "page"):
        line = refusal("plan", planner, *OBS, "--noise", tmp_path / f"{name}.npy")
        assert "not an array of numbers in .npy" in line and "pickle" not in line


def test_an_observation_beyond_the_limits_is_a_warning_on_one_line(planner, run):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, out, err = run("plan", planner, "--obs", "[99, 0, 0, 0]")
    assert code == 0 and "beyond the data's limits" in out
    assert (
        err.startswith("warning: --obs: dimension 0 is 99, beyond the data's limits, -1 to 1") and err.count("\n") == 1
    )


def boom(*_, **__):
    return len(3)  # a TypeError that nobody raised on purpose


@pytest.mark.parametrize("way", [boom, lambda *_, **__: np.zeros(3).reshape(2, 2), lambda *_, **__: {}["x"]])
def test_defects_keep_their_traceback(planner, run, monkeypatch, way):
    monkeypatch.setattr(info_command, "load_checkpoint", way)
    code, out, err = run("info", planner)
    assert code == 1 and out == ""
    assert "Traceback" in err and "test_errors.py" in err, "where it went wrong"
    assert err.splitlines()[-1].startswith("error: this is a defect of diffuser-fast")


@pytest.mark.parametrize("words", [("--debug", "info", "none"), ("info", "none", "--debug")])
def test_debug_shows_the_traceback_of_any_error(run, words):
    code, out, err = run(*words)
    assert code == 2 and out == "" and "Traceback" in err
    assert err.splitlines()[-1].startswith("error: none: no such file or folder")
    assert "Traceback" not in run("info", "none")[2], "and not for good"


def deliberate():
    raise ValueError("x")


def test_what_is_deliberate():
    """A raise statement in this package, and nothing that a call raised."""
    from diffuser_fast.core.scalars import whole

    for call, expected in [(lambda: whole("n", "x"), True), (lambda: whole(), False), (deliberate, False)]:
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        assert is_deliberate(caught.value) is expected
    assert not is_deliberate(ValueError("never raised"))


@pytest.mark.parametrize(
    ("words", "package", "sentence"),
    [
        (("train", "x", "-o", "y"), "torch", "train needs torch: pip install diffuser-fast[train]"),
        (("plan", "PLANNER", *OBS, "--backend", "reference"), "torch", "pip install diffuser-fast[torch]"),
        (("info", "LOST"), "torch", "pip install diffuser-fast[torch] reads it"),
        (("stats", "x.hdf5", "-o", "y", "--env", "hopper"), "h5py", "pip install diffuser-fast[envs]"),
        (("data", "maze2d-umaze", "--steps", "1", "-o", "z.hdf5"), "h5py", "pip install diffuser-fast[envs]"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    planner, lost, refusal, monkeypatch, tmp_path, words, package, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for name in [n for n in sys.modules if n.startswith(("diffuser_fast.backends.reference", "diffuser_fast.train"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    words = [{"PLANNER": planner, "LOST": lost}.get(word, word) for word in words]
    assert sentence in refusal(*words, code=1)


def test_names_of_arguments_and_parameters():
    command = cli.group.get_command(None, "plan")
    for name, option in [
        ("batch_size", "--batch-size"), ("load.horizon", "--trained-horizon"), ("horizon", "--horizon"),
        ("conditions[0]", "--obs"), ("conditions[-1]", "--goal"), ("conditions[12]", "--condition [12]"),
        ("conditions", "--condition"), ("checkpoint", "CHECKPOINT"), ("no_such", None),
    ]:  # fmt: skip
        assert option_of(name, command) == option
    assert option_of("out", cli.group.get_command(None, "stats")) == "--out"


def raised_strings():
    """Every string in a raise statement of the package, and where it stands."""
    for path in sorted((ROOT / "diffuser_fast").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                for part in ast.walk(node.exc):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield f"{path.relative_to(ROOT)}:{part.lineno}", part.value


def test_no_error_is_written_with_pythons_spelling():
    """``setting`` and ``named`` of core/spelling.py spell an argument as the caller does."""
    wrong = [f"{where}: {text}" for where, text in raised_strings() if re.search(r"\b[a-z_]{3,}=(?![={])", text)]
    allowed = ("dropin", "DIFFUSER_FAST", "MUJOCO_GL")  # for callers of Python, and of the system's own
    wrong = [line for line in wrong if not any(word in line for word in allowed)]
    assert not wrong, "\n".join(wrong)


def test_every_option_has_help():
    for name in cli.COMMANDS:
        for parameter in cli.group.get_command(None, name).params:
            if isinstance(parameter, click.Option) and parameter.name not in ("precision", "seed", "dtype", "episodes"):
                assert parameter.help or parameter.show_default, (name, parameter.name)
