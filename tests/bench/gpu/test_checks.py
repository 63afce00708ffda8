"""The checks of a GPU, on a backend that can run here: what is right passes, what is not is found."""

import numpy as np
import pytest

from bench.gpu import checks, jobs, session
from bench.gpu.deadline import Deadline
from bench.gpu.device import Rehearsal
from bench.gpu.screen import Screen
from bench.gpu.session import Request
from diffuser_fast.backends import reference


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(checks, "BACKEND", "reference")


@pytest.fixture
def wrong(monkeypatch):
    """A Mish that is off by a thousandth, in float32 alone: what it is judged by stays right."""
    import torch
    import torch.nn.functional as F

    def mish(x):
        return F.mish(x) * (1.001 if x.dtype == torch.float32 else 1)

    monkeypatch.setitem(reference.OPS, "act", lambda op, shape, ins, weights, table: mish(ins[0]))


def test_the_traces_are_reproduced():
    found = list(checks.goldens("float32", "cpu"))
    assert len(found) == checks.total("goldens", "float32") == 3
    assert all(finding["passed"] and finding["worst"] <= 1 for finding in found)


def test_a_wrong_engine_does_not_reproduce_them(wrong):
    assert not any(finding["passed"] for finding in checks.goldens("float32", "cpu"))


def test_conformance_in_parts():
    names = [case.name for case in checks.table("float32")]
    assert len(names) == checks.total("conformance", "float32") == len(set(names))
    kinds = [name.split()[0] for name in names]
    first = kinds.index("conv")
    assert len(set(kinds[first : first + 8])) == 8  # an op of every kind, then the next of every kind
    assert sorted(name for part in range(3) for name in names[part::3]) == sorted(names)


def test_conformance_of_one_case():
    (finding,) = checks.conformance("float32", "cpu", only="act mish 17x9 range")
    assert finding["passed"] and finding["worst"] <= 1


def test_conformance_finds_what_is_wrong(monkeypatch):
    def broken(target, case):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(checks, "_ratio", broken)
    (finding,) = checks.conformance("float32", "cpu", only="act mish 17x9 range")
    assert finding == {"case": "act mish 17x9 range: RuntimeError: no such kernel", "worst": None, "passed": False}
    monkeypatch.setattr(checks, "_ratio", lambda target, case: np.inf)
    (finding,) = checks.conformance("float32", "cpu", only="act mish 17x9 range")
    assert finding == {"case": "act mish 17x9 range", "worst": None, "passed": False}


def test_after_an_error_of_the_device_the_process_ends(monkeypatch):
    def broken(target, case):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(checks, "_ratio", broken)
    findings = checks.conformance("float32", "cpu")
    assert not next(findings)["passed"]
    with pytest.raises(RuntimeError, match="illegal"):
        next(findings)


def test_narrow_operands_are_held_to_whole_networks():
    assert {case.name.split()[0] for case in checks.table("fp16")} == {"network"}
    assert (checks.exactness("fp16"), checks.exactness("float32")) == ("fast", "exact")


def test_the_same_noise():
    found = list(checks.noise("float32", "cpu"))
    assert len(found) == checks.total("same noise", "float32")
    assert all(finding["passed"] for finding in found)


def test_float64_of_the_device():
    (finding,) = checks.float64("cpu")
    assert finding["passed"] and finding["worst"] < 1


def test_what_fails_to_get_ready_is_not_run_in_the_ladder(monkeypatch, tmp_path, capsys):
    plan = [
        (jobs.Job("warm", {"workload": "hopper/guided/b64", "precision": "fp16", "device": "cuda"}), None),
        (jobs.Job("warm", {"workload": "hopper/guided/b1", "precision": "fp16", "device": "cuda"}), None),
    ]
    monkeypatch.setattr(session, "_planned", lambda request, ours: iter(plan))
    ends = [jobs.Ended("illegal access", failed=True), jobs.Ended("the time for it was over")]
    monkeypatch.setattr(session.jobs, "run", lambda *_: iter(zip((job for job, _ in plan), ends, strict=True)))
    request, deadline = Request(Rehearsal(), tmp_path, 1.0), Deadline(10.0)
    right, broken = session._checks(request, None, Screen(deadline), deadline, None)
    assert not right and broken == {("hopper/guided/b64", "fp16"): "illegal access"}
    assert "hopper/guided/b1 fp16 not prepared: the time for it was over" in capsys.readouterr().out
