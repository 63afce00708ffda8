"""One rung of the GPU ladder on the CPU: who is judged, who is timed, and what the rows say."""

import time

import numpy as np
import pytest

from bench.gpu import peers
from bench.gpu.deadline import Deadline
from bench.gpu.device import Rehearsal
from bench.gpu.endtoend import Ready, observations
from bench.gpu.model import Machine
from bench.gpu.peers import ORIGINAL, PEERS
from bench.gpu.rung import REHEARSAL, Setting, rung
from bench.problem import problem
from bench.rows import check
from bench.truth import truth
from bench.workloads import ladder
from diffuser_fast.core.loop import ranking

TINY = ladder().find("tiny/guided/b2")


class Fake:
    """A candidate whose answer is the right one plus ``error`` times its size; a call takes ``takes`` seconds."""

    def __init__(self, name, error=0.0, ours=False, why_not=None, fails=False, seconds=0.0, takes=0.0):
        self.name, self.ours, self.error, self.reason, self.fails = name, ours, error, why_not, fails
        self.seconds, self.takes, self.ran = seconds, takes, []

    def why_not(self, problem, device):
        return self.reason

    def ready(self, problem, device):
        if self.fails:
            raise RuntimeError("no such kernel\nand a long trace")
        right = truth(problem, device.name).exact
        return Ready(
            check=lambda: {n: a * (1 + self.error) for n, a in right.items()},
            run=lambda: self.call("device"), plan=lambda obs: self.call("host"), note="a note",
        )  # fmt: skip

    def call(self, kind):
        self.ran.append(kind)
        time.sleep(self.takes)


def setting(seconds=60.0):
    return Setting(Rehearsal(), Deadline(seconds), REHEARSAL, Machine())


def rows_of(*candidates, **options):
    rows = rung(TINY, candidates, setting(**options))
    for fields in rows:
        check({"row": "gpu_timing", "run": "x", **fields})
    return {row["candidate"]: row for row in rows}


def test_rows_say_what_happened():
    rows = rows_of(
        Fake(ORIGINAL, takes=0.01), Fake("absent", why_not="it is not installed"), Fake("broken", fails=True),
        Fake("wrong", error=0.5), Fake("rough", error=1e-3, takes=0.005), Fake("engine", ours=True),
        Fake("long", seconds=1e6),
    )  # fmt: skip
    assert [row["why_not"] for row in rows.values()][:-1] == [
        None, "it is not installed", "RuntimeError: no such kernel", "its answer is wrong by 50.0%", None, None,
    ]  # fmt: skip
    assert "no time left: it takes about 1000000 s" in rows["long"]["why_not"]
    assert [row["exactness"] for row in rows.values()] == ["exact", None, None, "wrong", "fast", "exact", None]
    assert {name for name, row in rows.items() if row["host_p50_ms"] is not None} == {ORIGINAL, "rough", "engine"}
    assert rows["engine"]["predicted_ms"] > 0 and rows[ORIGINAL]["predicted_ms"] is None
    assert rows["engine"]["over_original"] is not None and rows[ORIGINAL]["over_original"] == 1.0
    assert {row["best_peer"] for row in rows.values()} == {"rough"}  # never ours, however fast
    assert rows["engine"]["speedup"] > 1 and rows["rough"]["speedup"] == 1.0 and rows[ORIGINAL]["speedup"] < 1
    assert all(row["rehearsal"] for row in rows.values())


def test_both_kinds_of_time_are_taken():
    fake = Fake("peer")
    row = rows_of(fake)["peer"]
    assert {"device", "host"} == set(fake.ran)
    assert row["device_calls"] >= 1 and row["host_calls"] >= 1 and row["tflops"] > 0
    assert row["over_original"] is None and row["speedup"] == 1.0


def test_nobody_ready_is_no_failure():
    assert rows_of(Fake("broken", fails=True))["broken"]["host_calls"] == 0


@pytest.fixture(scope="module", params=["tiny/guided/b2", "tiny/plan/b1"])
def given(request):
    return problem(ladder().find(request.param))


@pytest.mark.parametrize("name", PEERS)
def test_peers_are_right_and_plan_from_observations(given, name):
    peer, device = PEERS[name], Rehearsal()
    if reason := peer.why_not(given, device):
        assert given.loop.guide is None and "waits for nothing" in reason
        return
    ready = peer.ready(given, device)
    for _ in range(2):
        assert truth(given, device.name).judge(ready.check()).exactness in ("exact", "close")
    # From the same observation the same plans, physical and sorted; from another one others.
    one, other = observations(given, 2)
    actions, states, values = ready.plan(one)
    again = ready.plan(other), ready.plan(one)  # what is left in its buffers is the plan from `one`
    assert actions.dtype == states.dtype == np.float32
    np.testing.assert_array_equal(again[1][0], actions)
    assert np.abs(again[0][0] - actions).max() > 0
    assert (np.diff(values) <= 0).all()
    x, found = ready.plan.sample(ready.plan.given)
    order = ranking(np.zeros(len(x)) if found is None else found.numpy(), len(x))
    best = x.numpy()[order][..., : given.checkpoint.action_dim]
    np.testing.assert_allclose(actions, given.checkpoint.normalizers.actions.unnormalize(best), rtol=1e-5, atol=1e-5)
    for t in given.workload.network.known:
        np.testing.assert_allclose(states[:, t], np.broadcast_to(one, states[:, t].shape), rtol=1e-4, atol=1e-4)


def test_the_original_waits_twice_in_a_row(monkeypatch):
    given, fetched, fetch = problem(TINY), [], peers._fetch
    monkeypatch.setattr(peers, "_fetch", lambda values: fetched.append(fetch(values)))
    PEERS[ORIGINAL].ready(given, Rehearsal()).run()
    assert len(fetched) == given.loop.rows and all(low <= high for low, high in fetched)
