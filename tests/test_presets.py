"""Presets: what they say stands where an argument is left out, and nowhere else."""

import dataclasses
import json

import numpy as np
import pytest

import diffuser_fast as dfx
from diffuser_fast import Guide, Planner, pretrained
from diffuser_fast.cli import main
from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.formats import native
from diffuser_fast.planner.presets import PRESETS, preset_of

SIZES = {"dim": 16, "dim_mults": (1, 2)}
FAST = {
    "sampler": "ddim", "n_steps": 3, "eta": 0.5, "warm_start": 2, "batch_size": 5, "precision": "float32-close",
    "guide": {"scale": 0.7, "n_steps": 1},
}  # fmt: skip


def checkpoint(**presets):
    made = random_checkpoint(
        UNetSpec(8, 14, **SIZES), ValueSpec(8, 14, dim=32, dim_mults=(1, 2)), action_dim=3, n_train=6
    )
    return dataclasses.replace(made, metadata={**made.metadata, "presets": presets})


def planner(said=FAST, **options):
    return Planner(checkpoint(fast=said), "cpu", preset="fast", threads=1, **options)


def plan(p):
    return p.plan({0: np.zeros(11)}).observations


def test_a_preset_is_the_planner_of_its_arguments():
    said = planner()
    own = Planner(
        checkpoint(), "cpu", sampler="ddim", n_steps=3, eta=0.5, warm_start=2, batch_size=5,
        precision="float32-close", guide=dataclasses.replace(checkpoint().guide, scale=0.7, n_steps=1), threads=1,
    )  # fmt: skip
    np.testing.assert_array_equal(plan(said), plan(own))
    assert (said.warm_start, said.batch_size, said.precision, said.preset) == (2, 5, "float32-close", "fast")
    assert said.exactness == own.exactness == "approximate" and said.loop.rows == 3
    assert np.abs(plan(Planner(checkpoint(), "cpu", batch_size=5, threads=1)) - plan(said)).max() > 1e-3


def test_arguments_go_before_it():
    assert planner(batch_size=2).batch_size == 2 and planner(precision="float32").precision == "float32"
    assert planner(warm_start=1).warm_start == 1 and planner(warm_start=1).loop.rows == 3
    assert planner(guide=None).loop.guide is None
    assert planner(guide=Guide(n_steps=0)).loop.guide is not None
    assert not planner(guide=Guide(n_steps=0)).loop.steps.guide_steps.any()
    # A sampler of one's own leaves its sampler out as a whole: a warm start counts the rows of that one.
    for own in ({"sampler": "ddpm"}, {"n_steps": 6}, {"sampler": "dpm_solver_pp_2m", "n_steps": 4}):
        made = planner(**own)
        assert made.warm_start is None and made.loop.rows == own.get("n_steps", 6) and made.batch_size == 5


def test_ranking_and_silence():
    assert not planner({"guide": "rank"}).loop.steps.guide_steps.any()
    plain = planner({})
    assert (plain.batch_size, plain.precision, plain.warm_start, plain.exactness) == (64, "float32", None, "exact")


def test_a_precision_that_the_engine_has_not_is_left_out():
    made = Planner(checkpoint(fast=FAST), "reference", preset="fast")
    assert made.precision == "float32"
    with pytest.raises(ValueError, match="precision"):
        Planner(checkpoint(), "reference", precision="float32-close")


@pytest.mark.parametrize(
    ("presets", "sentence"),
    [
        ({}, "preset: found 'fast', but this checkpoint has no presets"),
        ({"slow": {}, "paper": {}}, "preset: found 'fast', expected one of slow, paper"),
        ({"fast": 3}, "presets: found .*, expected settings by name"),
        ({"fast": {"colour": 1}}, "presets: fast says colour=1, which is no setting"),
        ({"fast": {"n_steps": 0}}, "presets: fast: n_steps: found 0"),
        ({"fast": {"guide": {"colour": 1}}}, "presets: fast says guide="),
        ({"fast": {"guide": {"n_steps": -1}}}, "n_steps: found -1"),
        ({"fast": {"sampler": 3}}, "presets: fast: sampler: found 3, expected a word"),
    ],
)
def test_refusals(presets, sentence):
    with pytest.raises(ValueError, match=sentence):
        Planner(checkpoint(**presets), "cpu", preset="fast")


def test_they_lie_beside_a_native_file_and_go_with_it(tmp_path):
    path = tmp_path / "mine.safetensors"
    native.save(dataclasses.replace(checkpoint(), metadata={}), path)
    assert "presets" not in dfx.load(path).metadata
    beside = tmp_path / "mine.presets.json"
    beside.write_text(json.dumps({"fast": FAST}))
    loaded = dfx.load(path)
    assert Planner(loaded, "cpu", preset="fast", threads=1).batch_size == 5
    native.save(loaded, tmp_path / "copy.safetensors")
    assert preset_of(dfx.load(tmp_path / "copy.safetensors"), "fast")["n_steps"] == 3
    for text, sentence in (("{", "mine.presets.json: not JSON"), ("[]", "expected a JSON object")):
        beside.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            dfx.load(path)


@pytest.mark.parametrize("name", pretrained.names())
def test_bundled_planners_have_them(name):
    loaded = dfx.load(name)
    assert tuple(loaded.metadata["presets"]) == PRESETS
    for preset in PRESETS:
        made = Planner(loaded, "cpu", preset=preset, threads=1)
        assert made.batch_size >= 1
    assert (made.exactness, made.warm_start, made.loop.rows) == ("exact", None, loaded.schedule.n_steps)


def test_the_command_line(capsys):
    words = ["plan", "maze2d-umaze", "--obs", "[1, 1, 0, 0]", "--goal", "[2, 3, 0, 0]"]
    assert main([*words, "--preset", "fastest"]) == 2
    assert "--preset: found 'fastest', expected one of realtime, balanced, paper" in capsys.readouterr().err
