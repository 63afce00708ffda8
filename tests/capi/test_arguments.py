"""Every argument of every function wrong once: a status and a sentence, never a crash, and the next plan is right."""

import ctypes
import os
import signal
import threading
import time
from ctypes import byref, c_int32, c_void_p

import numpy as np
import pytest
from csrc.engines import needs_engine

import diffuser_fast as dfx
from capi import library as lib
from capi.checkpoints import A, H, O, exported, planner
from capi.library import ARGUMENT, BUSY, CANCELLED, FILE, OK, SYSTEM, UNSUPPORTED, Bundle, CPlanner, Refused

pytestmark = [needs_engine, *lib.needs_library]
HUGE = 2**31 - 1


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return Bundle(exported(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def c(bundle):
    return CPlanner(bundle)


@pytest.fixture(scope="module")
def expected(c):
    return c.plan({0: np.zeros(O)})[1].tobytes()


def test_statuses_have_sentences():
    sentences = {lib.library().dfx_status_string(status) for status in range(-12, 2)}
    assert len(sentences) == 11 and b"an unknown status" in sentences
    assert (
        lib.library().dfx_abi() == 0
        and lib.library().dfx_version().decode() in (lib.ROOT / "pyproject.toml").read_text()
    )
    assert abs(lib.library().dfx_now() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)) < 10**9


def replayed(request, rows):
    request.replay, request.n_replay = (c_int32 * len(rows))(*rows), len(rows)


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        (lambda r: setattr(r, "struct_size", 0), ARGUMENT, "request.struct_size"),
        (lambda r: setattr(r, "struct_size", ctypes.sizeof(lib.Request) - 1), ARGUMENT, "request.struct_size"),
        (lambda r: setattr(r, "struct_size", 2**32 - 1), ARGUMENT, "request.struct_size"),
        (lambda r: setattr(r, "n_conditions", -1), ARGUMENT, "n_conditions: found -1, expected 0 to 8"),
        (lambda r: setattr(r, "n_conditions", HUGE), ARGUMENT, "n_conditions: found 2147483647"),
        (lambda r: setattr(r, "conditions", None), ARGUMENT, "conditions: NULL"),
        (lambda r: setattr(r, "min_rows", -1), ARGUMENT, "min_rows: found -1"),
        (lambda r: setattr(r, "deadline_ns", 1), ARGUMENT, "deadline_ns: dfx_planner_calibrate has to be called first"),
        (lambda r: setattr(r, "deadline_ns", -1), ARGUMENT, "deadline_ns: negative"),
        (lambda r: replayed(r, [0, 1, 2, 3, 4]), ARGUMENT, "n_replay: found 5, expected 6"),
        (lambda r: replayed(r, [0, 1, 2, 3, 4, HUGE]), ARGUMENT, "replay: found 2147483647"),
        (lambda r: replayed(r, [0, 1, 2, 3, 4, -2]), ARGUMENT, "replay: found -2"),
        (lambda r: replayed(r, [-1, 1, 2, 3, 4, 5]), ARGUMENT, "replay: no denoising step"),
        (lambda r: (replayed(r, [0, 1, 2, 3, 4, 5]), setattr(r, "deadline_ns", 1)), ARGUMENT, "no deadline with it"),
    ],
)
def test_requests(c, expected, change, status, sentence):
    request, keep = c.request({0: np.zeros(O)})
    change(request)
    refused(c, request, c.out(c.arrays()), status, sentence)
    assert c.plan({0: np.zeros(O)})[1].tobytes() == expected
    del keep


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        ({H: np.zeros(O)}, r"conditions[0].time: 8 is outside the horizon 8"),
        ({-H - 1: np.zeros(O)}, r"conditions[0].time: -9"),
        ({-(2**31): np.zeros(O)}, r"conditions[0].time"),
        ({HUGE: np.zeros(O)}, r"conditions[0].time"),
        ({0: np.zeros(O), -H: np.zeros(O)}, r"conditions[1].time: -8 is there twice"),
        ({0: [0, np.nan, 0]}, r"conditions[0].observation[1]: not finite"),
        ({0: np.zeros(O), 1: {2: np.inf}}, r"conditions[1].observation[2]: not finite"),
        ({0: [1e300, 0, 0]}, r"conditions[0].observation[0]: 1e+300 is too large"),
    ],
)
def test_conditions(c, expected, conditions, sentence):
    with pytest.raises(Refused) as found:
        c.plan(conditions)
    assert found.value.status == ARGUMENT and sentence in found.value.text
    assert c.plan({0: np.zeros(O)})[1].tobytes() == expected


def refused(c, request, plan, status, sentence):
    assert lib.library().dfx_planner_plan(c.handle, request and byref(request), plan and byref(plan)) == status
    assert sentence in lib.library().dfx_planner_error(c.handle).decode()


def test_elements_of_conditions(c):
    request, (_, array) = c.request({0: np.zeros(O), 1: np.zeros(O)})
    out = c.out(c.arrays())
    array[1].struct_size += 8
    refused(c, request, out, ARGUMENT, "conditions[1].struct_size")
    array[1].struct_size, array[1].observation = array[0].struct_size, None
    refused(c, request, out, ARGUMENT, "conditions[1].observation: NULL")
    array[0].struct_size = 3
    refused(c, request, out, ARGUMENT, "condition.struct_size: found 3")


def test_plans_and_missing_structs(c, expected):
    request, _keep = c.request({0: np.zeros(O)})
    refused(c, None, c.out(c.arrays()), ARGUMENT, "request: NULL")
    refused(c, request, None, ARGUMENT, "plan: NULL")
    for name, size in (("actions", 3 * H * A), ("observations", 3 * H * O), ("values", 3)):
        plan = c.out(c.arrays())
        setattr(plan, f"n_{name}", size - 1)
        refused(c, request, plan, ARGUMENT, f"plan.n_{name}: found {size - 1}, expected at least {size}")
    plan = c.out(c.arrays())
    plan.ran, plan.n_ran = (c_int32 * 5)(), 5
    refused(c, request, plan, ARGUMENT, "plan.n_ran: found 5, expected at least 6")
    plan = c.out(c.arrays())
    plan.struct_size = 12
    refused(c, request, plan, ARGUMENT, "plan.struct_size: found 12")
    nothing = lib.Plan()
    assert lib.library().dfx_planner_plan(c.handle, byref(request), byref(nothing)) == OK
    assert nothing.rows == 6 and nothing.ended_ns > nothing.started_ns > 0
    arrays = c.arrays()
    plan = c.out({"observations": arrays["observations"]})
    assert lib.library().dfx_planner_plan(c.handle, byref(request), byref(plan)) == OK
    assert arrays["observations"].tobytes() == expected


def test_structs_of_newer_headers(c):
    """What this library does not know must be zero going in, and is left alone coming out."""

    class Newer(ctypes.Structure):
        _fields_ = [("known", lib.Request), ("more", ctypes.c_int64)]

    class Later(ctypes.Structure):
        _fields_ = [("known", lib.Plan), ("more", ctypes.c_int64)]

    request, _keep = c.request({})
    newer, later = Newer(request, 0), Later(c.out(c.arrays()), 0)
    newer.known.struct_size, later.known.struct_size = ctypes.sizeof(newer), ctypes.sizeof(later)
    call = lambda: lib.library().dfx_planner_plan(
        c.handle,
        ctypes.cast(byref(newer), ctypes.POINTER(lib.Request)),
        ctypes.cast(byref(later), ctypes.POINTER(lib.Plan)),
    )
    assert call() == OK and later.known.struct_size == ctypes.sizeof(later)
    newer.more = 1
    assert call() == UNSUPPORTED


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ({"batch": -1}, ARGUMENT, "options.batch: found -1"),
        ({"batch": HUGE}, ARGUMENT, "options.batch"),
        ({"horizon": -4}, ARGUMENT, "options.horizon"),
        ({"horizon": 12}, UNSUPPORTED, "none of 3 plans at horizon 12"),
        ({"threads": -1}, ARGUMENT, "options.threads"),
        ({"threads": HUGE}, ARGUMENT, "options.threads"),
        ({"flags": 2**31}, ARGUMENT, "options.flags"),
        ({"isa": "avx1024"}, UNSUPPORTED, "isa: this CPU does not have avx1024"),
        ({"isa": ""}, UNSUPPORTED, "isa"),
        ({"n_cores": 1}, ARGUMENT, "options.cores"),
        ({"n_cores": -1}, ARGUMENT, "options.cores"),
        ({"cores": (c_int32 * 1)(0)}, ARGUMENT, "options.cores"),
        ({"cores": (c_int32 * 1)(0), "n_cores": 1, "threads": 2}, ARGUMENT, "expected one for each of 2 threads"),
        ({"cores": (c_int32 * 1)(-7), "n_cores": 1}, ARGUMENT, "options.cores: found -7"),
        ({"cores": (c_int32 * 1)(HUGE), "n_cores": 1}, UNSUPPORTED, "core"),
    ],
)  # fmt: skip
def test_options(bundle, options, status, sentence):
    with pytest.raises(Refused) as found:
        CPlanner(bundle, **options)
    assert found.value.status == status and sentence in found.value.text, found.value


def test_options_struct(bundle):
    options, planner_, error = lib.Options(), c_void_p(1), ctypes.create_string_buffer(8)
    options.struct_size = 5
    open_ = lib.library().dfx_planner_open
    assert open_(bundle.handle, byref(options), error, 8, byref(planner_)) == ARGUMENT
    assert error.value == b"options"[:7] and not planner_.value  # cut to its size
    assert open_(bundle.handle, None, None, 0, byref(planner_)) == OK
    lib.library().dfx_planner_close(planner_)


def test_handles(bundle, c, tmp_path):
    """NULL, and one for another."""
    f, out, two = lib.library(), c_void_p(), (c_int32(), c_int32())
    info, planner_info = lib.BundleInfo(), lib.PlannerInfo()
    request, _keep = c.request({})
    plan = c.out(c.arrays())
    for wrong in (None, c.handle):
        f.dfx_bundle_close(wrong)
        assert f.dfx_bundle_get_info(wrong, byref(info)) == ARGUMENT
        assert f.dfx_bundle_variant(wrong, 0, byref(two[0]), byref(two[1])) == ARGUMENT
        assert f.dfx_bundle_self_test(wrong, None, 0) == ARGUMENT
        assert f.dfx_planner_open(wrong, None, None, 0, byref(out)) == ARGUMENT
    for wrong in (None, bundle.handle):
        f.dfx_planner_close(wrong)
        f.dfx_planner_cancel(wrong)
        assert f.dfx_planner_plan(wrong, byref(request), byref(plan)) == ARGUMENT
        assert f.dfx_planner_get_info(wrong, byref(planner_info)) == ARGUMENT
        assert f.dfx_planner_calibrate(wrong, 0) == ARGUMENT
        assert b"planner" in f.dfx_planner_error(wrong)
    assert f.dfx_planner_open(bundle.handle, None, None, 0, None) == ARGUMENT
    assert f.dfx_bundle_get_info(bundle.handle, None) == ARGUMENT
    for rest in (-2, 2**62):  # -1 is DFX_BRIEFLY
        assert f.dfx_planner_calibrate(c.handle, rest) == ARGUMENT and b"rest_ns" in f.dfx_planner_error(c.handle)
    assert f.dfx_planner_get_info(c.handle, None) == ARGUMENT
    info.struct_size = planner_info.struct_size = 4
    assert f.dfx_bundle_get_info(bundle.handle, byref(info)) == ARGUMENT
    assert f.dfx_planner_get_info(c.handle, byref(planner_info)) == ARGUMENT
    assert f.dfx_bundle_variant(bundle.handle, 0, None, byref(two[1])) == ARGUMENT
    assert f.dfx_bundle_variant(bundle.handle, 0, byref(two[0]), None) == ARGUMENT
    for variant in (-1, 1, HUGE):
        assert f.dfx_bundle_variant(bundle.handle, variant, byref(two[0]), byref(two[1])) == ARGUMENT
    assert f.dfx_bundle_variant(bundle.handle, 0, byref(two[0]), byref(two[1])) == OK
    assert (two[0].value, two[1].value) == (0, H)


def test_paths(tmp_path):
    f, out = lib.library(), c_void_p(1)
    assert f.dfx_bundle_open(None, None, 0, byref(out)) == ARGUMENT and not out.value
    assert f.dfx_bundle_open(b"x", None, 0, None) == ARGUMENT
    assert f.dfx_bundle_open_memory(None, 9, None, 0, byref(out)) == ARGUMENT
    assert f.dfx_bundle_open_memory(b"x" * 64, 64, None, 0, None) == ARGUMENT
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for path, sentence in (
        (tmp_path / "none.dfb", "No such file"), (tmp_path, "not a file"), (tmp_path / "pipe", "not a file"),
        (tmp_path / "empty", "0 bytes"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=sentence) as found:
            Bundle(path)
        assert found.value.status == FILE and str(path) in found.value.text


def test_locked_memory(bundle):
    try:
        c = CPlanner(bundle, flags=lib.LOCK_MEMORY)
    except Refused as found:  # where the limit is low
        assert found.status == SYSTEM and "ulimit -l" in found.text
    else:
        assert c.info.locked == 1
        c.close()


def long_planner(tmp_path):
    """A plan of it takes a second or so."""
    path = tmp_path / "long.dfb"
    if not path.exists():
        dfx.export(planner(guided=False), path, horizons=[8 * 256])
    c = CPlanner(Bundle(path), horizon=8 * 256, batch=40)
    assert c.info.horizon == 8 * 256
    return c


def test_one_plan_at_a_time_and_cancelling(tmp_path):
    c, other, done = long_planner(tmp_path), [], []
    request, _keep = c.request({})
    out = c.out({})

    def run():
        status = BUSY
        while status == BUSY:
            status = lib.library().dfx_planner_plan(c.handle, byref(request), byref(out))
        done.append(status)

    thread = threading.Thread(target=run)
    thread.start()
    nothing, mine = lib.Request(n_conditions=-1), lib.Plan()  # refused, unless the planner is busy
    while not done:
        other.append(lib.library().dfx_planner_plan(c.handle, byref(nothing), byref(mine)))
        if other[-1] == BUSY:
            lib.library().dfx_planner_cancel(c.handle)
            break
    thread.join()
    assert other[-1] == BUSY and set(other) <= {BUSY, ARGUMENT} and done == [CANCELLED]
    assert b"cancelled" in lib.library().dfx_planner_error(c.handle)


def test_cancel_in_a_signal_handler(tmp_path):
    """From C, in effect: the handler runs while the library plans, on the same thread, and only stores a flag."""
    c = long_planner(tmp_path)
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: lib.library().dfx_planner_cancel(c.handle))
    libc = ctypes.CDLL(None)
    libc.signal.restype = libc.signal.argtypes = None
    libc.signal.restype, libc.signal.argtypes = c_void_p, (ctypes.c_int, c_void_p)
    before = libc.signal(signal.SIGALRM, ctypes.cast(handler, c_void_p))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(Refused) as found:
            for number in range(100):
                c.plan({}, number=number)
        assert found.value.status == CANCELLED
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        libc.signal(signal.SIGALRM, before)


def test_a_planner_outlives_its_bundle(tmp_path):
    bundle = Bundle(exported(tmp_path))
    c = CPlanner(bundle)
    expected = c.plan({})[1].tobytes()
    bundle.close()
    assert c.plan({})[1].tobytes() == expected
    c.close()


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"flags": 64}, ARGUMENT, "thread.flags"),
        ({"fifo": -1}, ARGUMENT, "thread.fifo: found -1"),
        ({"fifo": 100}, ARGUMENT, "thread.fifo: found 100"),
        ({"flags": lib.PIN, "core": -1}, ARGUMENT, "thread.core: found -1"),
        ({"flags": lib.PIN, "core": HUGE}, ARGUMENT, "thread.core: found"),
        ({"flags": lib.PIN, "core": 1000}, SYSTEM, "thread.core: this thread may not be on core 1000"),
        ({"struct_size": 3}, ARGUMENT, "thread.struct_size"),
    ],
)
def test_threads(fields, status, sentence):
    error, thread = ctypes.create_string_buffer(256), lib.Thread()
    for name, value in fields.items():
        setattr(thread, name, value)
    assert lib.library().dfx_thread_apply(byref(thread), error, 256) == status
    assert sentence in error.value.decode()
    assert lib.library().dfx_thread_apply(None, error, 256) == ARGUMENT


def test_a_thread_is_made_ready():
    """Pinned, with its stack in memory; FIFO where this process may, else it is said what to raise."""
    found = []

    def run():
        error = ctypes.create_string_buffer(256)
        core = min(os.sched_getaffinity(0))
        both = lib.Thread(flags=lib.PIN | lib.LOCK_STACK, core=core)
        found.append(
            (lib.library().dfx_thread_apply(byref(both), error, 256), error.value, os.sched_getaffinity(0), core)
        )
        status = lib.library().dfx_thread_apply(byref(lib.Thread(fifo=1)), error, 256)
        found.append((status, error.value, os.sched_getscheduler(0)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (status, text, cores, core), (fifo, why, policy) = found
    assert cores == {core} and (status == OK or (status == SYSTEM and b"ulimit -l" in text))
    assert (fifo == OK and policy == os.SCHED_FIFO) or (fifo == SYSTEM and b"ulimit -r" in why)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
