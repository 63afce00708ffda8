"""The model of a GPU's latency and the chain it is counted from: counts by hand, ranges, what measuring changes."""

import numpy as np
import pytest

from bench.machine import ROOT
from bench.problem import problem
from bench.workloads import workloads
from diffuser_fast.backends.gpu import model
from diffuser_fast.backends.gpu.plan import loop_stages
from diffuser_fast.backends.gpu.stages import Kind, Residual, Stage
from tests.offline import chain

HOPPER = workloads().find("hopper/guided/b1")


@pytest.fixture(scope="module")
def hopper():
    return loop_stages(problem(HOPPER).loop)


def test_a_guided_row_of_the_hopper_is_152_convolutions(hopper):
    """40 of the U-Net and twice 28 of the value network and 28 of its gradient."""
    found = [stage for k, _, stage in hopper.chain() if k == 0]
    assert sum(stage.kind == Kind.CONV for stage in found) == 40 + 2 * 56
    steps = problem(HOPPER).loop.steps
    total = sum(stage.kind == Kind.CONV for _, _, stage in hopper.chain())
    assert total == 40 * steps.rows + 56 * int(np.sum(steps.guide_steps)) + 28


def test_products_and_bytes_of_a_stage():
    plain = Stage(Kind.CONV, ci=32, co=64, h=8, h_in=8, k=5)
    assert model.depth(plain) == 160 and model.weight_bytes(plain, 2) == 2 * 64 * 160
    skipping = Stage(Kind.CONV, ci=32, co=64, cr=16, h=8, k=5, residual=Residual.LATE_CONV)
    assert model.depth(skipping) == 176 and model.weight_bytes(skipping, 2) == 2 * 64 * 176
    rising = Stage(Kind.CONV, ci=32, co=32, h=16, k=4, stride=2, transposed=True)  # two of four taps meet something
    assert model.depth(rising) == 64 and model.weight_bytes(rising, 2) == 2 * 32 * 128
    assert model.depth(Stage(Kind.POINTWISE, ci=32)) == 0


def test_ranges_are_ranges_and_measuring_narrows_them(hopper):
    found = model.modelled(hopper, 1)
    assert list(found) == ["stages", "loop", "cluster", "async"]
    assert all(0 < one.low < one.high for one in found.values())
    assert found["async"].high < found["stages"].high
    known = model.modelled(hopper, 1, known={"node": 1.0})
    width = {name: one.high - one.low for name, one in found.items()}
    assert known["stages"].high - known["stages"].low < width["stages"]
    assert known["loop"] == found["loop"]  # which launches nothing
    assert model.modelled(hopper, 1, weight_size=4)["loop"].high > found["loop"].high


def test_a_model_says_that_it_is_none(capsys):
    assert chain.main(["hopper/guided/b1"]) == 0
    said = capsys.readouterr().out
    assert "152 of them" not in said and "stages one after another" in said and "update" in said
    assert "A model is no measurement: none of this has run on a GPU." in said
    assert all(name in said for name in model.CONSTANTS)
    with pytest.raises(SystemExit):
        chain.main(["no/such/workload"])


def test_what_was_measured_is_remembered_by_the_kind_of_gpu(monkeypatch, tmp_path):
    assert model.measured("NVIDIA H200") == {}
    monkeypatch.setattr(model, "MEASURED", tmp_path / "measured.json")
    model.MEASURED.write_text("{}")
    model.remember("NVIDIA H200", {"node": 1.5})
    model.remember("NVIDIA L4", {"node": 0.9})
    assert model.measured("NVIDIA H200") == {"node": 1.5} and model.measured("NVIDIA L4") == {"node": 0.9}
    with pytest.raises(ValueError, match="constants: the model has no nodes, it has node, kernel"):
        model.remember("NVIDIA L4", {"nodes": 0.9})
    assert model.measured("NVIDIA L4") == {"node": 0.9}


def test_the_page_says_what_the_model_says():
    """docs/cuda.md has the ranges of a guided hopper plan."""
    page = (ROOT / "docs" / "cuda.md").read_text()
    both = [model.modelled(loop_stages(problem(HOPPER).loop), batch) for batch in (1, 64)]
    for way in both[0]:
        cells = " | ".join(str(one[way]).removesuffix(" ms") for one in both)
        assert f"| {way} | {cells} |" in page, f"{way}: {cells} (python -m tests.offline.chain hopper/guided/b1, b64)"
