"""Processes of their own: what they find comes out, what fails says why, what does not end is ended."""

import sys
import time

import pytest

from bench.gpu import jobs
from bench.gpu.jobs import DONE, MARK, Ended, Job
from bench.gpu.tally import Tally

GOOD = f"""
print('chatter')
print('{MARK}{{"case": "a", "worst": 0.5, "passed": true}}')
print('{MARK}{{"case": "b", "worst": 2.0, "passed": false}}')
print('{DONE}')
"""
BAD = "import sys; print('{}', flush=True); sys.exit('/somewhere/deep/kernel.py: no such kernel')"
ENDLESS = f"""
import time
print('{MARK}{{"case": "a", "worst": 0.5, "passed": true}}', flush=True)
time.sleep(60)
"""


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.setattr(Job, "command", property(lambda job: [sys.executable, "-c", job.work]))


def collect(works, slots=2, seconds=30.0):
    began = time.monotonic()
    return [
        (job.work, finding)
        for job, finding in jobs.run([Job(work) for work in works], slots, lambda: began + seconds - time.monotonic())
    ]


def test_findings_and_the_end(scripts):
    found = [finding for _, finding in collect([GOOD])]
    assert [finding["case"] for finding in found[:-1]] == ["a", "b"]
    assert found[-1] == Ended(None)


def test_a_failure_says_why(scripts):
    ((_, ended),) = collect([BAD])
    assert ended == Ended("kernel.py: no such kernel", failed=True)


def test_what_dies_without_a_word(scripts):
    ((_, ended),) = collect(["import os; os._exit(3)"])
    assert ended == Ended("its process ended with 3", failed=True)


def test_what_does_not_end_is_ended_and_keeps_what_it_found(scripts):
    began = time.monotonic()
    found = collect([ENDLESS, ENDLESS, ENDLESS], slots=2, seconds=2.0)
    assert time.monotonic() - began < 20
    assert sum(isinstance(finding, dict) for _, finding in found) == 2
    ends = sorted(finding.why_not for _, finding in found if isinstance(finding, Ended))
    assert ends == ["the time for it was over"] * 2 + ["there was no time to begin it"]
    assert not any(finding.failed for _, finding in found if isinstance(finding, Ended))


def test_the_order_is_kept(scripts):
    works = [GOOD + f"# {n}" for n in range(3)]
    ends = [work for work, finding in collect(works, slots=1) if isinstance(finding, Ended)]
    assert ends == works


@pytest.mark.parametrize(
    ("cores", "memory", "slots"), [(16, 78.0, 8), (16, 8.0, 4), (2, 8.0, 1), (64, 1.0, 1), (4, None, 2)]
)
def test_slots(cores, memory, slots):
    assert jobs.slots(cores, memory) == slots


def test_the_process_itself(capsys, monkeypatch):
    from bench.gpu import checks

    monkeypatch.setitem(checks.CHECKS, "goldens", lambda precision: iter([{"case": precision}]))
    assert jobs.main('{"work": "goldens", "options": {"precision": "fp16"}}') == 0
    assert capsys.readouterr().out.splitlines() == [f'{MARK}{{"case": "fp16"}}', DONE]

    def broken(precision):
        yield {"case": "one"}
        raise RuntimeError("no such kernel\nand a long trace")

    monkeypatch.setitem(checks.CHECKS, "goldens", broken)
    assert jobs.main('{"work": "goldens", "options": {"precision": "fp16"}}') == 1
    said = capsys.readouterr()
    assert DONE not in said.out and said.err.strip() == "RuntimeError: no such kernel"


def test_a_tally():
    tally = Tally("conformance", "triton float32", "exact", total=4, parts=2)
    assert not tally.take({"case": "a", "worst": 0.5, "passed": True})
    assert not tally.take({"case": "b", "worst": 0.2, "passed": True})
    assert tally.passed and (tally.worst, tally.worst_case) == (0.5, "a")
    assert not tally.take(Ended("the time for it was over"))
    assert tally.passed  # what was not run does not count
    assert not tally.take({"case": "c", "worst": None, "passed": False})
    assert not tally.take({"case": "d", "worst": 9.0, "passed": False})
    assert tally.take(Ended("no such kernel", failed=True))
    row = tally.row(rehearsal=False)
    assert (row["cases"], row["failed"], row["worst"], row["worst_case"]) == (4, 3, None, "c")
    assert row["why_not"] == "the time for it was over" and not tally.passed
