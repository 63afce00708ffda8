"""Acting while planning: an Executor and a Stepped give the same bits; whatever fails, a step comes all the same."""

import os
import signal
import threading
import time
from collections import Counter
from functools import cache

import numpy as np
import pytest
from csrc.engines import needs_engine

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.core.spec import UNetSpec, ValueSpec

pytestmark = needs_engine
H, A, O, D = 16, 2, 4, 3
FIELDS = ("source", "index", "age", "late", "seam")


@cache
def checkpoint(guided=True):
    spec = UNetSpec(H, A + O, dim=8, dim_mults=(1, 2))
    value = ValueSpec(H, A + O, dim=8, dim_mults=(1, 8)) if guided else None
    return c.random_checkpoint(spec, value, action_dim=A, n_train=6, guide=dfx.Guide(0.3, 2, 1))


def planner(guided=True, **options):
    return dfx.Planner(checkpoint(guided), **{"batch_size": 2, "threads": 1, "backend": "cpu", **options})


def observations(n=40, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(0, 0.2, (n, O)), axis=0)


class Disturbed:
    """A planner whose plans take as long as told, or fail."""

    def __init__(self, made, before):
        self.made, self.before = made, before

    def __getattr__(self, name):
        return getattr(self.made, name)

    def plan(self, *args, **options):
        number = options.get("number")
        number = options["replay"].number if number is None else number
        self.before(number)
        return self.made.plan(*args, **options)


def run(acting, seen, wait=lambda i: None):
    acting.start(seen[0])
    steps = []
    for i, obs in enumerate(seen):
        wait(i)
        steps.append(acting.step(obs))
    return steps


def same(found, expected):
    assert len(found) == len(expected)
    for ours, law in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.action, law.action)
        assert [getattr(ours, name) for name in FIELDS] == [getattr(law, name) for name in FIELDS]


def until_idle(executor):
    """Waits for a plan that is due, as a loop with time enough does."""

    def wait(i):
        while not executor.idle and executor._pending.step + D <= i and executor._mail is None:
            time.sleep(1e-4)

    return wait


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("freeze", ["actions", "states", "none"])
def test_an_executor_is_a_stepped_under_load(freeze, warm):
    """Sleeps of any length, busy threads: as long as plans are in time nothing else counts."""
    rng, seen = np.random.default_rng(1), observations()
    options = {"delay": D, "freeze": freeze, "warm": warm}
    made = [planner(warm_start=3 if warm else None) for _ in range(2)]
    expected = run(dfx.Stepped(made[0], 0.02, **options), seen)
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [sum(range(1000)) for _ in iter(stop.is_set, True)])
    busy.start()
    sleeps = rng.uniform(0, 4e-3, 100)
    executor = dfx.Executor(Disturbed(made[1], lambda number: time.sleep(sleeps[number])), 0.02, **options)
    with executor:
        found = run(executor, seen, until_idle(executor))
    stop.set()
    busy.join()
    same(found, expected)
    assert {step.source for step in found} == {"plan"} and executor.counts["used"] >= 10
    assert all(step.seam is None or (step.seam >= 0 and step.age == D) for step in found)


def test_late_plans_again_from_the_log():
    """What came late, was dropped or failed is known from the log, and all steps come again, to the bit."""

    def before(number):
        if number in (3, 7):
            time.sleep(0.03)
        if number == 5:
            raise RuntimeError("no")

    seen, options = observations(120), {"delay": D, "max_seam": 0.5}
    with dfx.Executor(Disturbed(planner(), before), 0.002, **options) as executor:
        found = run(executor, seen, lambda i: time.sleep(0.002))
        log, counts = list(executor.log), Counter(executor.counts)
    assert counts["failed"] == 1 and counts["late"] + counts["dropped"] >= 2
    again = dfx.Stepped(planner(), 0.002, log=log, **options)
    same(run(again, seen), found)
    assert again.counts == counts


def test_a_plan_is_used_at_its_step_however_soon_it_comes():
    seen = observations()
    early, due = (run(dfx.Stepped(planner(), 0.02, delay=D, cost=cost), seen) for cost in (1, D))
    same(early, due)
    assert [step.age for step in due if step.seam is not None] == [D] * sum(step.seam is not None for step in due)


def test_the_prefix_is_what_is_done_meanwhile():
    seen = observations()
    stepped = dfx.Stepped(planner(), 0.02, delay=D)
    asked = []
    made = stepped.made

    def keep(request, replay=None):
        answer = made(request, replay)
        asked.append((request, answer.plans))
        return answer

    stepped.made = keep
    steps = run(stepped, seen)
    for request, plans in asked[1:-1]:
        done = np.stack([step.action for step in steps[request.step : request.step + D]])
        np.testing.assert_array_equal(plans.actions[0, :D], done)
    assert len(asked) > 10


def test_every_step_of_the_ladder_in_order():
    """A planner that never answers: its last plan to the end, then hold; it is counted, and recovered from."""
    cost = {4: 3 * H}
    stepped = dfx.Stepped(planner(), 0.02, delay=D, cost=lambda n: cost.get(n, D))
    steps = run(stepped, observations(5 * H))
    sources = [step.source for step in steps]
    first = sources.index("shifted")
    hold = sources.index("hold")
    back = hold + sources[hold:].index("plan")
    assert set(sources[:first]) == {"plan"} and set(sources[first:hold]) == {"shifted"}
    assert set(sources[hold:back]) == {"hold"}
    assert back - (first - D + cost[4]) <= D + 1  # the late one is too old, the next is used at its step
    assert [step.late for step in steps[first : first + 4]] == [1, 2, 3, 4]
    assert stepped.counts["dropped"] == 1 and Counter(sources) == {
        name: stepped.counts[name] for name in ("plan", "shifted", "hold")
    }
    np.testing.assert_array_equal(steps[hold].action, steps[hold - 1].action)  # its last action again


def test_a_late_plan_is_judged_by_its_seam():
    for limit, dropped in ((None, 0), (1e9, 0), (0.0, 1)):
        stepped = dfx.Stepped(planner(), 0.02, delay=D, max_seam=limit, cost=lambda n: D + 2 if n == 2 else D)
        steps = run(stepped, observations(20))
        assert stepped.counts["dropped"] == dropped and stepped.counts["late"] == 1 - dropped
        assert any(step.seam is not None and step.age == D + 2 for step in steps) != bool(dropped)


@pytest.mark.parametrize(
    "fault", ["sleep", "throw", "not finite", "missing", "shape", "clock", "signals", "fork", "core"]
)
def test_faults(fault, monkeypatch):
    """Steps come at once whatever happens; afterwards plans are used again within d + 1 steps of the next answer."""
    faulty = range(4, 6)
    hits = []

    def before(number):
        if number in faulty:
            hits.append(number)
            if fault == "sleep":
                time.sleep(0.05)
            elif fault == "throw":
                raise ValueError("no")

    seen = [*observations(60)]
    if fault in ("not finite", "missing", "shape"):
        seen[12:16] = [{"not finite": np.full(O, np.nan), "missing": None, "shape": np.zeros(O + 1)}[fault]] * 4
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    before_signal = signal.signal(signal.SIGALRM, lambda *_: hits.append(0))
    with dfx.Executor(Disturbed(planner(), before), 0.002, delay=D) as executor:
        executor.start(seen[0])
        if fault == "signals":
            signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        steps, took = [], []
        try:
            for i, obs in enumerate(seen):
                if fault == "clock" and i == 10:
                    monkeypatch.setattr(time, "time", lambda: -1e9)
                if fault == "core" and i in (10, 30):  # all threads on one, and back
                    for thread in os.listdir("/proc/self/task"):
                        os.sched_setaffinity(int(thread), {min(cores)} if i == 10 else cores)
                if fault == "fork" and i == 10:
                    if (child := os.fork()) == 0:
                        try:
                            executor.step(obs)
                        except RuntimeError as error:
                            os._exit(7 if "start one here" in str(error) else 1)
                        os._exit(2)
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                began = time.perf_counter()
                steps.append(executor.step(obs))
                took.append(time.perf_counter() - began)
                end = time.perf_counter() + 0.004
                while time.perf_counter() < end:
                    time.sleep(0.0005)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before_signal)
        assert np.median(took) < 5e-3  # it never waits for a plan of 50 ms, nor for the planner's thread
        assert all(np.isfinite(step.action).all() for step in steps)
        taken = executor.counts["observations not taken"]
        assert taken == (4 if fault in ("not finite", "missing", "shape") else 0)
        if fault == "throw":
            assert executor.counts["failed"] == 2 and "no" in str(executor.error)
        if fault == "sleep":
            assert any(step.source in ("shifted", "hold") for step in steps)
        if fault in ("sleep", "throw", "signals"):
            assert hits
        assert executor.counts["used"] >= 5
        assert "plan" in {step.source for step in steps[40:]}  # it has recovered


def test_the_watchdog_cancels():
    slow = threading.Event()
    cancelled = threading.Event()

    class Hanging(Disturbed):
        def cancel(self):
            cancelled.set()
            self.made.cancel()

    def before(number):
        if number == 2:
            slow.set()
            cancelled.wait(5)
            raise dfx.CancelledError

    with dfx.Executor(Hanging(planner(), before), 0.001, delay=D, watchdog=2) as executor:
        run(executor, observations(60), lambda i: time.sleep(0.002))
        assert slow.is_set() and executor.counts["watchdog"] >= 1 and executor.counts["failed"] >= 1


def test_delay_and_budget_by_themselves():
    seen = observations(12)
    with dfx.Executor(planner(), 0.05, budget_ms="auto") as executor:
        steps = run(executor, seen)
        assert 1 <= executor.delay < H and executor.budget_ms == pytest.approx(0.9 * executor.delay * 50)
        assert {step.source for step in steps} <= {"plan", "shifted", "hold"}


def test_what_is_refused():
    made = planner()
    for complaint, options in {
        "delay: found 0": {"delay": 0},
        "freeze: found 'all'": {"freeze": "all"},
        "warm: ": {"warm": True},
        "max_seam: ": {"max_seam": -1},
        "replan: ": {"replan": 0},
        "cost: the log": {"cost": 1, "log": []},
    }.items():
        with pytest.raises(ValueError, match=complaint):
            dfx.Stepped(made, 0.02, **options)
    with pytest.raises(ValueError, match="obs: expected 4 finite"):
        dfx.Stepped(made, 0.02, delay=1).start([np.nan] * 4)
    with pytest.raises(RuntimeError, match="start"):
        dfx.Executor(made, 0.02, delay=1).step(np.zeros(O))
