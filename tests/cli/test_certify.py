"""certify: what each engine earns, in JSON; 1 where a class that is claimed is missed."""

import json
from dataclasses import replace

import pytest
from oracle.goldens import FOLDER

from diffuser_fast import cli
from diffuser_fast.backends.reference import ReferenceEngine
from diffuser_fast.conformance import Target, random_checkpoint
from diffuser_fast.core.spec import UNetSpec
from diffuser_fast.formats import load, native

POLICY = str(FOLDER / "relatives" / "lerobot")


def certified(capsys, *words):
    code = cli.main(["certify", POLICY, "--plans", "2", "--json", *words])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def test_every_engine_earns_its_class(capsys, tmp_path):
    code, record, err = certified(capsys, "-o", str(tmp_path / "certificate.json"))
    assert code == 0 and record["passed"], err
    assert json.loads((tmp_path / "certificate.json").read_text()) == record
    assert record["units"] == "physical" and record["denoising_steps"] == load(POLICY).schedule.n_steps
    backends = {row["backend"] for row in record["targets"]}
    assert "reference" in backends and {row["claimed"] for row in record["targets"]} >= {"exact"}
    for row in record["targets"]:
        assert row["earned"] == row["claimed"] and len(row["rows"]) == record["denoising_steps"]
        assert 0 < row["plan"]["actions"] < (1e-4 if row["claimed"] != "fast" else 1) * row["scale"]["actions"]


@pytest.mark.filterwarnings("ignore:conditions")  # random limits are not the maze's
def test_a_closed_loop_is_scored_where_an_environment_is_named(capsys, tmp_path):
    pytest.importorskip("diffuser_fast._cpu")
    spec = UNetSpec(horizon=16, transition_dim=6, dim=16, dim_mults=(1, 2))
    made = random_checkpoint(spec, n_train=2, normalizer="limits", clip_denoised=True)
    planner = str(native.save(made, tmp_path / "planner.safetensors"))
    words = ["certify", planner, "--plans", "1", "--backend", "cpu", "--episodes", "2", "--json", "--env"]
    assert cli.main([*words, "maze2d-umaze"]) == 0
    record = json.loads(capsys.readouterr().out)
    found = record["closed_loop"]
    assert record["passed"] and found["env"] == "maze2d-umaze" and found["episodes"] == 2 and found["plans"] == 2
    alone = cli.main(["rollout", planner, "--env", "maze2d-umaze", "--episodes", "2", "--json"])
    assert alone == 0 and json.loads(capsys.readouterr().out)["score"] == found["score"]
    assert cli.main([*words, "hopper"]) == 2
    assert "Hopper-v5 has 11 observations and 3 actions" in capsys.readouterr().err


def test_an_engine_that_errs_is_told(capsys, monkeypatch):
    """An error of a thousandth in every plan: neither exact nor close."""
    whole = ReferenceEngine.__call__

    def wrong(self, *args, **kwargs):
        result = whole(self, *args, **kwargs)
        return result if str(self.dtype).endswith("64") else replace(result, x=result.x * 1.001)

    monkeypatch.setattr(ReferenceEngine, "__call__", wrong)
    code, record, err = certified(capsys, "--backend", "reference")
    assert code == cli.errors.FAILED and not record["passed"]
    assert [row["earned"] for row in record["targets"]] == ["none"]
    assert "1 of 1 missed the class they claim, the first: reference float32 claims exact and earns none" in err


def test_a_fast_precision_is_judged_by_its_steps(capsys, monkeypatch):
    pytest.importorskip("diffuser_fast._cpu")
    code, record, _ = certified(capsys, "--backend", "cpu")
    fast = [row for row in record["targets"] if row["precision"] == "bf16"]
    assert code == 0 and fast and all(list(row["of_what_is_allowed"]) == ["denoising steps"] for row in fast)
    ready = Target.ready
    monkeypatch.setattr(Target, "ready", lambda self, loop, batch: ready(replace(self, precision="bf16"), loop, batch))
    code, record, _ = certified(capsys, "--backend", "cpu")  # bfloat16 under the name of float32
    assert code == cli.errors.FAILED
    assert {row["earned"] for row in record["targets"] if row["precision"] == "float32"} == {"none"}
