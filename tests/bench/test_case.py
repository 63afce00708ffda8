"""One case: who is judged, who is timed, and what the record says. No time is asserted."""

import numpy as np
import pytest

from bench import ground_truth, machine
from bench.case import measure
from bench.ground_truth import GroundTruth
from bench.peers import Settings, candidates
from bench.problem import problem
from bench.records import Log, read
from bench.repetitions import Repetitions
from bench.workloads import workloads
from tests.bench.fakes import Fake

pytest.importorskip("torch")
HOW = Repetitions(budget=0.02, fewest=2, fewest_slow=2, burst=0.001, settle=0.0, warm_up=0.01, most_calls=5)
TINY = workloads().find("tiny/step/b2")
SETTINGS = Settings(threads=1)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def case():
    """Everything that can happen to a candidate."""
    return measure(TINY, [
        Fake("right", takes=0.05), Fake("absent", reason="it is not installed"), Fake("broken", fails=True),
        Fake("wrong", error=0.5), Fake("rough", error=1e-3, takes=0.01), Fake("engine", ours=True),
        Fake("dead", dies="ready"), Fake("dying", dies=5),
    ], SETTINGS, HOW)  # fmt: skip


def test_a_case_says_what_happened(case):
    results = {result.candidate: result for result in case.results}
    assert [result.why_not for result in results.values()] == [
        None, "it is not installed", "RuntimeError: no such kernel", "its answer is wrong by 50.0%", None, None,
        "its process ended with 7: illegal instruction", "its process ended with 7: illegal instruction",
    ]  # fmt: skip
    assert [result.exactness for result in results.values()] == [
        "exact", None, None, "wrong", "fast", "exact", None, "exact",
    ]  # fmt: skip
    timed = {name for name, result in results.items() if result.p50_ms is not None}
    assert timed == {"right", "rough", "engine"}
    assert results["rough"].deviation == pytest.approx(1e-3, rel=1e-3)
    assert results["right"].note == "a note" and results["right"].calls >= 2 and results["right"].peak_mib > 10


def test_the_best_peer_is_never_ours(case):
    results = {result.candidate: result for result in case.results}
    assert case.best_peer == "rough" and results["rough"].speedup == 1.0
    assert results["engine"].speedup > 1 > results["right"].speedup
    assert (case.flops, case.weight_bytes) == (problem(TINY).flops, problem(TINY).weight_bytes)


def test_without_peers_there_is_no_ratio_and_without_anyone_no_failure():
    alone = measure(TINY, [Fake("engine", ours=True)], SETTINGS, HOW)
    assert (alone.best_peer, alone.results[0].speedup) == (None, None) and alone.results[0].p50_ms is not None
    nobody = measure(TINY, [Fake("absent", reason="not here")], SETTINGS, HOW)
    assert nobody.results[0].calls == 0 and nobody.others is None


def test_who_has_no_time_left_is_not_begun():
    case = measure(TINY, [Fake("late")], SETTINGS, HOW, limit=lambda: 0.0)
    assert case.results[0].why_not == "the time for it was over"


def test_real_candidates_make_a_record(tmp_path):
    log = Log(tmp_path, command="bench", clock="cpu", threads=1, isa=None, quick=True, load=0.0)
    case = measure(workloads().find("tiny/guided/b2"), candidates(SETTINGS, ["eager", "cpu"]), SETTINGS, HOW)
    log.append(case)
    ((run, again),) = read([log.path])
    assert again == case and run == log.run
    for result in case.results:
        assert result.exactness in ("exact", "close", "fast") or "not installed" in result.why_not
        assert result.loads_torch in ((True,) if result.candidate == "torch eager" else (False, None))


def test_candidates_by_name():
    assert [one.name for one in candidates(SETTINGS, ["eager"])] == ["torch eager"]
    assert {one.ours for one in candidates(SETTINGS, ["cpu*"])} == {True}
    assert not [one for one in candidates(SETTINGS, ["!compile"]) if "compile" in one.name]
    with pytest.raises(ValueError, match="nothing matches tvm; there are torch eager"):
        candidates(SETTINGS, ["tvm"])


@pytest.mark.parametrize(
    ("disturbance", "warned"), [(None, False), (0.0, False), (0.29, False), (0.31, True), (1.0, True)]
)
def test_a_noisy_machine_is_called_so(disturbance, warned):
    assert (machine.Quiet(others=disturbance).warning is not None) == warned


def test_an_answer_must_be_whole():
    with pytest.raises(ValueError, match="expected"):
        GroundTruth(problem(workloads().find("tiny/gradient/b2"))).judge({"value": np.zeros(2)})


def test_an_answer_that_is_not_finite_is_wrong():
    truth = GroundTruth(problem(TINY))
    assert truth.judge({"y": np.full_like(truth.exact["y"], np.nan)}).exactness == "wrong"


def test_right_answers_are_kept_by_what_they_are_made_of(monkeypatch, tmp_path):
    monkeypatch.setattr(ground_truth, "SCRATCH", tmp_path)
    one = problem(TINY)
    GroundTruth(one)
    assert not list(tmp_path.iterdir())  # seconds are not worth a file
    monkeypatch.setattr(ground_truth, "KEPT", 0)
    first = GroundTruth(one).exact["y"]
    with monkeypatch.context() as patched:
        patched.setattr(ground_truth, "_computed", pytest.fail)  # nothing is computed again
        assert (GroundTruth(one).exact["y"] == first).all()
    assert (GroundTruth(problem(TINY, seed=1)).exact["y"] != first).any()
    assert len(list((tmp_path / "truth").iterdir())) == 2
