"""The checks of a GPU without one: on another backend, and what is made of their findings."""

import time

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from bench.records import Sheet  # noqa: E402
from bench.workloads import workloads  # noqa: E402
from on_gpu import checks, modelled, sanitizer  # noqa: E402 (need torch)
from on_gpu.checks import COLUMNS, Part, checked, planned, row  # noqa: E402


@pytest.fixture
def here(monkeypatch):
    """The checks of a backend that can run here."""
    monkeypatch.setattr(checks, "BACKEND", "reference")
    monkeypatch.setattr(checks, "WORKLOAD", "tiny/guided/b2")


def test_every_check_is_in_one_part():
    names = [name for name, _ in planned("float32", "cpu")]
    assert names[0] == "plan 0 of seed 7" and len(set(names)) == len(names) > 200
    first = [name.split()[0] for name in names].index("conv")
    assert len({name.split()[0] for name in names[first : first + 8]}) == 8  # every kind, then every kind again
    assert {name.split()[0] for name, _ in planned("fp16", "cpu")} == {"plan", "trace", "network"}


def test_what_is_right_passes(here):
    for name in ("plan 1 of seed 7", "float64 of the device", "trace hopper_guided", "act mish 17x9 range"):
        found = Part("float32", "cpu", only=name)
        assert found.next()[1] <= 1 and found.next() is None


def test_what_is_wrong_fails(here, monkeypatch):
    class Wrong(checks.Target):
        def evaluate(self, case):
            return {name: y * 1.001 for name, y in super().evaluate(case).items()}

    monkeypatch.setattr(checks, "Target", Wrong)
    assert Part("float32", "cpu", only="act mish 17x9 range").next()[1] > 1


def test_a_check_that_raises_is_a_finding_and_after_cuda_errors_the_process_ends(here, monkeypatch):
    def broken(target, case):
        raise RuntimeError(said)

    monkeypatch.setattr(checks, "case_error", broken)
    said = "no such kernel"
    assert Part("float32", "cpu", only="act mish 17x9 range").next() == (
        "act mish 17x9 range",
        "RuntimeError: no such kernel",
    )
    said = "CUDA error: an illegal memory access was encountered"
    with pytest.raises(RuntimeError, match="illegal"):
        Part("float32", "cpu", only="act mish 17x9 range").next()


@pytest.mark.parametrize(
    ("found", "failed", "worst", "where"),
    [
        ([("a", 0.5), ("b", 0.2)], 0, 0.5, "a"),
        ([("a", 0.5), ("b", 2.0)], 1, 2.0, "b"),
        ([("a", 2.0), ("b", float("nan"))], 2, None, "b"),
        ([("a", 0.5), ("its process", "ended with 7")], 1, None, "its process: ended with 7"),
        ([], 0, None, None),
    ],
)
def test_findings_of_a_precision_are_a_row(found, failed, worst, where):
    said = dict(zip(COLUMNS, row("float32", found), strict=True))
    assert (said["failed"], said["worst, of what is allowed"], said["where"]) == (failed, worst, where)
    assert (said["class"], said["run"]) == ("exact", len(found)) and said["of all"] > 200


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_checks_run_side_by_side_and_end_in_time():
    """On a machine without a GPU every check of ours raises, in its own process."""
    began, said = time.monotonic(), []
    sheet = checked(
        [("float32", "cuda", 0, 1, "add 2x3"), ("fp16", "cuda", 0, 1, "none")], 2, lambda: 60.0, said.append
    )
    assert [line[:1] + line[2:3] + line[4:5] for line in sheet.rows] == [["float32", 1, 1], ["fp16", 0, 0]]
    checked([("float32", "cuda", 0, 1, "add 2x3")], 1, lambda: 0.0, said.append)
    assert said == ["float32: there was no time for all of it"] and time.monotonic() - began < 120


@pytest.mark.parametrize(
    ("said", "code", "errors"),
    [
        ("========= ERROR SUMMARY: 0 errors", 0, 0),
        ("========= ERROR SUMMARY: 3 errors", 1, 3),
        ("========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)", 0, 2),
        ("ImportError: no such module\n========= ERROR SUMMARY: 0 errors", 1, None),
        ("", 0, None),
    ],
)
def test_what_the_sanitizer_says_is_read(said, code, errors):
    assert sanitizer.verdict(said, code)[0] == errors


def test_without_the_sanitizer_it_says_so(monkeypatch):
    monkeypatch.setattr(sanitizer.shutil, "which", lambda name: None)
    rows = sanitizer.measure(1.0).rows
    assert len(rows) == 3 * len(sanitizer.LAUNCHES) and all(
        row[2] is None and "not on the path" in row[3] for row in rows
    )


def test_what_was_measured_reaches_the_model():
    constants = Sheet("constants", "launching", ["constant", "us"], [["kernel in a graph", 1.5], ["other", None]])
    assert modelled.known(constants) == {"node": 1.5}
    assert modelled.known(Sheet("constants", "launching", [], [["kernel in a graph", None]])) == {}
    found = modelled.sheet([workloads().find("hopper/guided/b1")], {"node": 1.5})
    assert len(found.rows) == 4 and found.rows[0][3] == "node 1.50"
