"""One rung: who is judged, who is timed, and what the rows say. No time is asserted."""

import numpy as np
import pytest

from bench import ladder
from bench.peers import Ready, Settings, candidates
from bench.peers.eager import Eager
from bench.peers.ours import Ours
from bench.problem import problem
from bench.roofline import Ceiling
from bench.rounds import Plan
from bench.rows import Log, check
from bench.truth import truth
from bench.workloads import ladder as workloads

pytest.importorskip("torch")
CEILING = Ceiling(100.0, {1: 50.0, 4: 40.0, 16: 30.0, 64: 10.0}, "avx2", 1, "probe.c")
PLAN = Plan(budget=0.02, fewest=2, fewest_slow=2, burst=0.001, settle=0.0, warm_up=0.01, most_calls=5)
TINY = workloads().find("tiny/step/b2")


class Fake:
    """A candidate whose answer is the right one plus ``error`` times its size."""

    def __init__(self, name, error=0.0, ours=False, why_not=None, fails=False):
        self.name, self.ours, self.error, self.reason, self.fails = name, ours, error, why_not, fails

    def why_not(self, problem, settings):
        return self.reason

    def ready(self, problem, settings):
        if self.fails:
            raise RuntimeError("no such kernel\nand a long trace")
        right = truth(problem).exact
        return Ready(lambda: None, lambda _: {n: a * (1 + self.error) for n, a in right.items()}, "a note")


def rung(*fakes):
    rows = ladder.rung(TINY, list(fakes), Settings(threads=1), PLAN, CEILING)
    for fields in rows:
        check({"row": "timing", "run": "x", **fields})
    return {row["candidate"]: row for row in rows}


def test_rows_say_what_happened():
    rows = rung(
        Fake("right"), Fake("absent", why_not="it is not installed"), Fake("broken", fails=True),
        Fake("wrong", error=0.5), Fake("rough", error=1e-3), Fake("engine", ours=True),
    )  # fmt: skip
    assert [row["why_not"] for row in rows.values()] == [
        None, "it is not installed", "RuntimeError: no such kernel", "its answer is wrong by 50.0%", None, None,
    ]  # fmt: skip
    assert [row["exactness"] for row in rows.values()] == ["exact", None, None, "wrong", "fast", "exact"]
    timed = {name for name, row in rows.items() if row["p50_ms"] is not None}
    assert timed == {"right", "rough", "engine"}
    assert rows["rough"]["deviation"] == pytest.approx(1e-3, rel=1e-3)
    assert rows["right"]["note"] == "a note" and rows["right"]["calls"] >= 2


def test_the_best_peer_is_never_ours():
    rows = rung(Fake("peer"), Fake("engine", ours=True))
    assert {row["best_peer"] for row in rows.values()} == {"peer"}
    assert rows["peer"]["speedup"] == 1.0
    assert rows["engine"]["speedup"] is not None


def test_without_peers_there_is_no_ratio():
    (row,) = rung(Fake("engine", ours=True)).values()
    assert (row["best_peer"], row["speedup"]) == (None, None)


def test_rates_follow_from_the_time():
    (row,) = rung(Fake("peer")).values()
    assert row["gflops"] == pytest.approx(row["flops"] / row["p50_ms"] * 1e-6)
    assert row["fma_percent"] == pytest.approx(row["gflops"])  # of 100
    assert row["bandwidth_percent"] == pytest.approx(100 * row["weights_gbs"] / 30)


def test_everyone_failing_is_no_failure():
    rows = rung(Fake("broken", fails=True))
    assert rows["broken"]["calls"] == 0


@pytest.mark.parametrize(
    ("disturbance", "warned"), [(None, False), (0.0, False), (0.29, False), (0.31, True), (1.0, True)]
)
def test_a_noisy_machine_is_called_so(disturbance, warned):
    assert (ladder.warning(disturbance) is not None) == warned


def test_real_rows_are_valid(tmp_path):
    log = Log({
        "command": "bench", "commit": None, "dirty": True, "machine": {"cpu": "x"}, "versions": {},
        "ceiling": CEILING.to_json(), "threads": 1, "isa": None, "quick": True, "load": None,
    }, tmp_path)  # fmt: skip
    for fields in ladder.rung(TINY, [Eager(), Ours("reference")], Settings(threads=1), PLAN, CEILING):
        row = log.append("timing", fields)
        assert row["why_not"] is None and row["exactness"] in ("exact", "close")


def test_candidates_by_name():
    assert [c.name for c in candidates(["eager"])] == ["torch eager"]
    assert {c.ours for c in candidates(["cpu*"])} == {True}
    assert "torch.compile" not in {c.name for c in candidates(["!compile"])} > {"torch eager", "cpu"}
    with pytest.raises(ValueError, match="nothing matches"):
        candidates(["jax"])


def test_an_answer_must_be_whole():
    given = problem(workloads().find("tiny/gradient/b2"))
    with pytest.raises(ValueError, match="expected"):
        truth(given).judge({"value": np.zeros(2)})
