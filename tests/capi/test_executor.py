"""The executor of C is the Stepped of Python, bit for bit; whatever fails, a step comes at once and is told truly."""

import os
import shutil
import signal
import threading
import time
from ctypes import byref, c_void_p
from pathlib import Path

import numpy as np
import pytest
from csrc.engines import needs_engine
from csrc.test_threads import frozen

import diffuser_fast as dfx
from capi import library as lib
from capi.checkpoints import A, H, O, exported, planner
from capi.library import ARGUMENT, BUSY, CANCELLED, OK, SYSTEM, Bundle, CExecutor, CPlanner, Refused, needs_library
from diffuser_fast.control.acting import Record
from diffuser_fast.planner import Replay

pytestmark = [needs_engine, *needs_library]
SOURCES = ("plan", "shifted", "hold")
D = 2


def observations(n=40, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(0, 0.2, (n, O)), axis=0)


def run(executor, seen, conditions=None, wait=None):
    """wait: before a step, given its number; None: until a plan that is due has come."""
    executor.start(seen[0], conditions)
    steps, pending = [], None
    for i, obs in enumerate(seen):
        while wait is None and pending is not None and pending + executor.info().delay <= i and not executor.idle():
            time.sleep(1e-4)
        if wait is not None:
            wait(i)
        steps.append(executor.step(obs))
        pending = i if steps[-1]["began"] >= 0 else pending
    return steps


def same(found, expected):
    assert len(found) == len(expected)
    for i, (ours, law) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_array_equal(ours["action"], law.action, err_msg=str(i))
        assert SOURCES[ours["source"]] == law.source, i
        assert [ours[name] for name in ("index", "age", "late")] == [law.index, law.age, law.late], i
        assert (np.isnan(ours["seam"]) and law.seam is None) or ours["seam"] == law.seam, i


@pytest.mark.parametrize("freeze", ["actions", "states", "none"])
@pytest.mark.parametrize("warm", [None, 3])
@pytest.mark.parametrize("guided", [True, False], ids=["guided", "unguided"])
def test_it_is_a_stepped_under_load(tmp_path, freeze, warm, guided):
    """Beside busy threads: as long as plans are in time nothing else counts."""
    made = planner(guided, warm_start=warm)
    conditions = {-1: {1: 0.2}}
    expected_of = dfx.Stepped(
        made, 0.02, delay=D, freeze=freeze, warm=warm is not None, replan=3, conditions=conditions
    )
    seen = observations()
    seen[20] = np.nan
    expected_of.start(seen[0])
    expected = [expected_of.step(obs) for obs in seen]
    executor = CExecutor(
        CPlanner(Bundle(exported(tmp_path, made))), delay=D, warm_rows=warm or 0, replan=3,
        freeze=("auto", "actions", "states", "none").index(freeze),
    )  # fmt: skip
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [sum(range(1000)) for _ in iter(stop.is_set, True)])
    busy.start()
    found = run(executor, seen, conditions)
    stop.set()
    busy.join()
    same(found, expected)
    info = executor.info()
    assert info.used == expected_of.counts["used"] >= 8 and info.observations_not_taken == 1
    assert [info.by_source[k] for k in range(3)] == [expected_of.counts[name] for name in SOURCES]
    executor.close()


def test_planned_states_that_are_followed(tmp_path):
    """Seams are of states then, and the planned states are given with each step."""
    made, seen = planner(), observations()
    follow = lambda obs, planned, row: np.zeros(A)
    stepped = dfx.Stepped(made, 0.02, delay=D, follow=follow)
    stepped.start(seen[0])
    expected = [stepped.step(obs) for obs in seen]
    executor = CExecutor(CPlanner(Bundle(exported(tmp_path, made))), delay=D, follows=1)
    found = run(executor, seen)
    for ours, law in zip(found, expected, strict=True):
        assert (np.isnan(ours["seam"]) and law.seam is None) or ours["seam"] == law.seam
        assert ours["index"] == law.index
    np.testing.assert_array_equal(found[-1]["observations"], stepped._plan.observations[0])
    np.testing.assert_array_equal(found[-1]["actions"], stepped._plan.actions[0])
    executor.close()


def test_late_plans_again_from_its_steps(tmp_path):
    """What came late, was dropped or failed is known from the steps: Stepped does them all again, to the bit."""
    made, seen = planner(), observations(150)
    c = CPlanner(Bundle(exported(tmp_path, made)))
    executor = CExecutor(c, delay=D, max_seam=0.5)
    record = {0: Record(0, 0, 0, 0)}

    def wait(i):
        if i % 40 == 20:  # the plan at hand fails
            lib.library().dfx_planner_cancel(c.handle)
        if i % 3 == 0:  # others come when they come, some late
            time.sleep(2e-4)

    steps = run(executor, seen, wait=wait)
    for i, step in enumerate(steps):
        if step["came"] >= 0:
            told = record[step["came"]]
            told.come = i
            told.error = None if step["came_status"] == OK else RuntimeError("failed")
            told.replay = Replay(0, step["came"])
        if step["began"] >= 0:
            record[step["began"]] = Record(i, step["began"])
    again = dfx.Stepped(made, 0.02, delay=D, max_seam=0.5, log=list(record.values()))
    again.start(seen[0])
    same(steps, [again.step(obs) for obs in seen])
    info = executor.info()
    assert info.late + info.dropped >= 1
    counted = [info.used, info.late, info.dropped, info.failed]
    assert counted == [again.counts[name] for name in ("used", "late", "dropped", "failed")]
    executor.close()


def slow(tmp_path):
    """A planner whose plans take some tenths of a second."""
    path = tmp_path / "long.dfb"
    dfx.export(planner(guided=False), path, horizons=[8 * 64])
    return CPlanner(Bundle(path), horizon=8 * 64, batch=40)


def test_the_ladder_and_the_watchdog(tmp_path):
    """Steps faster than any plan: the plan in use goes on; the watchdog cancels; steps take microseconds all the while,
    though the planner is busy, and it recovers."""
    executor = CExecutor(slow(tmp_path), delay=3, watchdog=4)
    seen = observations(60)
    executor.start(seen[0])
    took, steps = [], []
    for obs in seen:
        began = time.perf_counter()
        steps.append(executor.step(obs))
        took.append(time.perf_counter() - began)
    assert np.median(took) < 1e-3  # with all of ctypes
    assert max(step["late"] for step in steps) >= 4 and {step["source"] for step in steps} == {0, 1}
    assert executor.info().watchdog >= 1
    while steps[-1]["came_status"] != CANCELLED:
        time.sleep(1e-3)
        steps.append(executor.step(seen[0]))
    assert "cancelled" in executor.error()
    assert executor.info().failed >= 1 and executor.info().error == CANCELLED
    assert steps[-1]["began"] >= 0  # another one
    executor.close()  # in the middle of a plan


def test_hold_after_the_end(tmp_path):
    executor = CExecutor(slow(tmp_path), delay=1)
    executor.start(np.zeros(O))
    steps = [executor.step(None) for _ in range(8 * 64 + 3)]  # no observation: no plan is begun
    assert [s["source"] for s in steps] == [0] * (8 * 64) + [2] * 3 and {s["began"] for s in steps} == {-1}
    assert steps[-1]["index"] == 8 * 64 - 1 and (steps[-1]["action"] == steps[-4]["action"]).all()
    assert executor.info().observations_not_taken == len(steps)
    executor.close()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")
def test_steps_while_the_planning_thread_stands_still(tmp_path):
    """Its core is taken away for as long as it takes: the ladder in order, and new plans are used afterwards."""
    executor = CExecutor(CPlanner(Bundle(exported(tmp_path))), delay=D)
    seen, names = observations(4 * H), {}
    executor.start(seen[0])
    for thread in Path("/proc/self/task").iterdir():
        names[(thread / "comm").read_text().strip()] = int(thread.name)
    with frozen(names["dfx-planning"], tmp_path):
        steps = [executor.step(obs) for obs in seen]
    # The first plan, of which one is overdue after 1 + D steps, to its end; then its last row.
    late = [0] * (2 + D) + list(range(1, 4 * H - 1 - D))
    assert [step["source"] for step in steps] == [0] * (2 + D) + [1] * (H - 2 - D) + [2] * (3 * H)
    assert [step["late"] for step in steps] == late and {step["number"] for step in steps} == {0}
    while not executor.idle():
        time.sleep(1e-4)
    again = [executor.step(seen[0])]  # what has come is too old; another one is begun
    assert again[0]["came"] == 1 and again[0]["began"] == 2 and executor.info().dropped == 1
    while not executor.idle():
        time.sleep(1e-4)
    again += [executor.step(seen[0]) for _ in range(D)]
    assert [step["source"] for step in again] == [2] * D + [0] and again[-1]["number"] == 2
    executor.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_faults(tmp_path):
    """Signals, a fork, a clock that jumps (nothing reads it), a planner that another thread uses, a core taken away."""
    bundle = Bundle(exported(tmp_path))
    c = CPlanner(bundle)
    executor, seen = CExecutor(c, delay=D), observations(60)
    hits = []
    before = signal.signal(signal.SIGALRM, lambda *_: hits.append(0))
    cores = os.sched_getaffinity(0)
    executor.start(seen[0])
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    steps = []
    try:
        for i, obs in enumerate(seen):
            if i == 10 and (child := os.fork()) == 0:
                try:
                    executor.step(obs)
                except Refused as refused:
                    executor.close()
                    again = CExecutor(CPlanner(bundle), delay=D)  # one of its own
                    again.start(obs)
                    again.step(obs)
                    again.close()
                    os._exit(7 if "process that started it" in refused.text else 1)
                os._exit(2)
            if i == 10:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            if i == 20:  # all its threads on one core
                for thread in os.listdir("/proc/self/task"):
                    os.sched_setaffinity(int(thread), {min(cores)})
            if i == 30:  # somebody else plans with its planner
                c_request, keep = c.request({})
                while lib.library().dfx_planner_plan(c.handle, byref(c_request), byref(lib.Plan())) == BUSY:
                    pass
                del keep
            steps.append(executor.step(obs))
            time.sleep(0.002)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), cores)
    assert hits and all(np.isfinite(step["action"]).all() for step in steps)
    assert steps[-1]["number"] > 5 and executor.info().used > 5  # it has gone on
    executor.close()


def test_delay_and_budget_by_themselves(tmp_path):
    executor = CExecutor(CPlanner(Bundle(exported(tmp_path))), period_ns=50_000_000, budget_ns=-1)
    executor.start(np.zeros(O))
    info = executor.info()
    assert 1 <= info.delay < H and info.budget_ns == int(0.9 * info.delay * 50_000_000)
    assert {executor.step(np.zeros(O))["source"] for _ in range(5)} <= {0, 1}
    executor.close()


def test_other_conditions_from_the_next_plan_on(tmp_path):
    made = planner(guided=False)
    c = CPlanner(Bundle(exported(tmp_path, made)))
    executor = CExecutor(c, delay=D, freeze=3)
    executor.start(np.zeros(O), {-1: {0: 0.5}})
    assert abs(executor.step(np.zeros(O))["observations"][-1, 0] - 0.5) < 1e-5
    request, keep = c.request({-1: {0: -0.25}})
    assert lib.library().dfx_executor_set_conditions(executor.handle, request.conditions, 1) == OK
    for _ in range(6):
        while not executor.idle():
            time.sleep(1e-4)
        step = executor.step(np.zeros(O))
    assert step["number"] > 0 and abs(step["observations"][-1, 0] + 0.25) < 1e-5
    del keep
    for wrong in ({0: np.zeros(O)}, {-H: np.zeros(O)}, {H: np.zeros(O)}, {1: [np.nan, 0, 0]}):
        request, _keep = c.request(wrong)
        assert lib.library().dfx_executor_set_conditions(executor.handle, request.conditions, 1) == ARGUMENT
        assert "conditions: " in executor.error()
    request, _keep = c.request({1: np.zeros(O), 1 - H: np.zeros(O)})
    assert lib.library().dfx_executor_set_conditions(executor.handle, request.conditions, 2) == ARGUMENT
    for n in (-1, H):
        assert lib.library().dfx_executor_set_conditions(executor.handle, request.conditions, n) == ARGUMENT
    assert lib.library().dfx_executor_set_conditions(executor.handle, None, 1) == ARGUMENT
    executor.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"delay": -1}, "options.delay: found -1"),
        ({"delay": H}, "options.delay: found 8"),
        ({"delay": 0}, "options.period_ns: found 0"),
        ({"delay": 1, "period_ns": -1}, "options.period_ns"),
        ({"delay": 1, "budget_ns": -2}, "options.budget_ns"),
        ({"delay": 1, "budget_ns": -1}, "options.period_ns"),
        ({"delay": 1, "min_rows": -1}, "options.min_rows"),
        ({"delay": 1, "replan": -1}, "options.replan"),
        ({"delay": 1, "freeze": 4}, "options.freeze"),
        ({"delay": 1, "freeze": -1}, "options.freeze"),
        ({"delay": 1, "warm_rows": -1}, "options.warm_rows"),
        ({"delay": 1, "warm_rows": 7}, "options.warm_rows"),
        ({"delay": 1, "watchdog": -1}, "options.watchdog"),
        ({"delay": 1, "max_seam": -1}, "options.max_seam"),
        ({"delay": 1, "max_seam": np.nan}, "options.max_seam"),
    ],
)
def test_options(tmp_path, options, sentence):
    with pytest.raises(Refused) as refused:
        CExecutor(CPlanner(Bundle(exported(tmp_path))), **options)
    assert refused.value.status == ARGUMENT and sentence in refused.value.text


def test_arguments(tmp_path):
    f, out = lib.library(), c_void_p(1)
    c = CPlanner(Bundle(exported(tmp_path)))
    options, step, info = lib.ExecutorOptions(delay=D), lib.Step(), lib.ExecutorInfo()
    assert f.dfx_executor_open(None, byref(options), None, 0, byref(out)) == ARGUMENT and not out.value
    assert f.dfx_executor_open(c.handle, None, None, 0, byref(out)) == ARGUMENT
    assert f.dfx_executor_open(c.handle, byref(options), None, 0, None) == ARGUMENT
    options.struct_size = 5
    assert f.dfx_executor_open(c.handle, byref(options), None, 0, byref(out)) == ARGUMENT
    for wrong in (None, c.handle):
        assert f.dfx_executor_start(wrong, None, None, 0, None, 0) == ARGUMENT
        assert f.dfx_executor_step(wrong, None, byref(step)) == ARGUMENT
        assert f.dfx_executor_set_conditions(wrong, None, 0) == ARGUMENT
        assert f.dfx_executor_get_info(wrong, byref(info)) == ARGUMENT
        assert f.dfx_executor_idle(wrong) == 0
        assert b"executor" in f.dfx_executor_error(wrong)
        f.dfx_executor_stop(wrong)
        f.dfx_executor_close(wrong)
    executor = CExecutor(c, delay=D)
    with pytest.raises(Refused, match="start comes first"):
        executor.step(np.zeros(O))
    assert f.dfx_executor_start(executor.handle, None, None, 0, None, 0) == ARGUMENT
    with pytest.raises(Refused, match=r"observation\[1\]: not finite"):
        executor.start([0, np.nan, 0])
    with pytest.raises(Refused, match="conditions: "):
        executor.start(np.zeros(O), {0: np.zeros(O)})
    executor.start(np.zeros(O))
    assert f.dfx_executor_step(executor.handle, None, None) == ARGUMENT
    step.struct_size = 8
    assert f.dfx_executor_step(executor.handle, None, byref(step)) == ARGUMENT
    info.struct_size = 8
    assert f.dfx_executor_get_info(executor.handle, byref(info)) == ARGUMENT
    executor.stop()
    with pytest.raises(Refused, match="start comes first"):
        executor.step(np.zeros(O))
    executor.start(np.zeros(O))  # another episode
    assert executor.step(np.zeros(O))["number"] == 0
    executor.close()
    thread = lib.Thread(flags=lib.PIN, core=1000)
    refused = CExecutor(c, delay=D, thread=lib.ctypes.pointer(thread))
    with pytest.raises(Refused, match=r"thread\.core: this thread may not be on core 1000") as found:
        refused.start(np.zeros(O))
    assert found.value.status == SYSTEM
    refused.close()
