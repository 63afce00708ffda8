"""include/diffuser_fast.h in ctypes, and the library, built by csrc/capi/Makefile if it is not there."""

import ctypes
import fcntl
import functools
import shutil
import subprocess
import sys
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "capi"
needs_library = [
    pytest.mark.skipif(sys.platform != "linux", reason="Linux only"),
    pytest.mark.skipif(
        shutil.which("make") is None or shutil.which("g++") is None, reason="there is no make, or no g++"
    ),
]

OK, BUSY, ARGUMENT, NOT_FINITE, FILE, MEMORY, SYSTEM, UNSUPPORTED, CANCELLED, DIFFERS = (
    0, -2, -3, -4, -5, -6, -7, -8, -10, -11
)  # fmt: skip
LOCK_MEMORY, CLIPPED, PIN, LOCK_STACK = 1, 1, 1, 2


class Struct(ctypes.Structure):
    """Its struct_size is set."""

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(type(self)), **fields)


def struct(name, **fields):
    return type(name, (Struct,), {"_fields_": [("struct_size", c_uint32), *fields.items()]})


BundleInfo = struct(
    "BundleInfo", action_dim=c_int32, observation_dim=c_int32, batch=c_int32, horizon=c_int32, rows=c_int32,
    training_steps=c_int32, guided=c_int32, exactness=c_int32, variants=c_int32, digest=c_uint64,
)  # fmt: skip
Options = struct(
    "Options", batch=c_int32, horizon=c_int32, threads=c_int32, cores=POINTER(c_int32), n_cores=c_int32,
    flags=c_uint32, isa=c_char_p, situations=c_int32,
)  # fmt: skip
Condition = struct("Condition", time=c_int32, observation=POINTER(c_double), given=POINTER(c_uint8))
Request = struct(
    "Request", n_conditions=c_int32, conditions=c_void_p, seed=c_uint64, number=c_uint32, min_rows=c_int32,
    deadline_ns=c_int64, replay=POINTER(c_int32), n_replay=c_size_t, prefix_actions=POINTER(c_double),
    prefix_observations=POINTER(c_double), prefix_at=c_int32, prefix_length=c_int32, last=POINTER(c_float),
    n_last=c_size_t, warm_rows=c_int32, shift=c_int32,
)  # fmt: skip
Plan = struct(
    "Plan", rows=c_int32, actions=POINTER(c_float), observations=POINTER(c_float), values=POINTER(c_float),
    n_actions=c_size_t, n_observations=c_size_t, n_values=c_size_t, ran=POINTER(c_int32), n_ran=c_size_t,
    exactness=c_int32, notes=c_uint32, started_ns=c_int64, ended_ns=c_int64, finish=c_int32, deadline_met=c_int32,
    last=POINTER(c_float), n_last=c_size_t,
)  # fmt: skip
PlannerInfo = struct(
    "PlannerInfo", batch=c_int32, horizon=c_int32, action_dim=c_int32, observation_dim=c_int32, threads=c_int32,
    locked=c_int32, dissolved=c_int64, isa=c_char_p, replay=c_int32, groups=c_int32, situations=c_int32,
)  # fmt: skip
Thread = struct("Thread", flags=c_uint32, core=c_int32, fifo=c_int32)
ExecutorOptions = struct(
    "ExecutorOptions", delay=c_int32, period_ns=c_int64, budget_ns=c_int64, min_rows=c_int32, replan=c_int32,
    freeze=c_int32, follows=c_int32, warm_rows=c_int32, watchdog=c_int32, max_seam=c_double, seed=c_uint64,
    thread=POINTER(Thread),
)  # fmt: skip
Step = struct(
    "Step", source=c_int32, index=c_int32, age=c_int32, late=c_int32, came_status=c_int32, number=c_int64,
    began=c_int64, came=c_int64, seam=c_double, action=POINTER(c_float), actions=POINTER(c_float),
    observations=POINTER(c_float),
)  # fmt: skip
ExecutorInfo = struct(
    "ExecutorInfo", delay=c_int32, budget_ns=c_int64, by_source=c_int64 * 3, used=c_int64, late=c_int64,
    dropped=c_int64, failed=c_int64, observations_not_taken=c_int64, watchdog=c_int64, longest_ns=c_int64,
    error=c_int32,
)  # fmt: skip

ERROR = (c_char_p, c_size_t)
FUNCTIONS = {
    "dfx_status_string": (c_char_p, c_int32),
    "dfx_abi": (c_uint32,),
    "dfx_version": (c_char_p,),
    "dfx_now": (c_int64,),
    "dfx_bundle_open": (c_int32, c_char_p, *ERROR, POINTER(c_void_p)),
    "dfx_bundle_open_memory": (c_int32, c_char_p, c_size_t, *ERROR, POINTER(c_void_p)),
    "dfx_bundle_close": (None, c_void_p),
    "dfx_bundle_get_info": (c_int32, c_void_p, POINTER(BundleInfo)),
    "dfx_bundle_variant": (c_int32, c_void_p, c_int32, POINTER(c_int32), POINTER(c_int32)),
    "dfx_bundle_self_test": (c_int32, c_void_p, *ERROR),
    "dfx_planner_open": (c_int32, c_void_p, POINTER(Options), *ERROR, POINTER(c_void_p)),
    "dfx_planner_close": (None, c_void_p),
    "dfx_planner_plan": (c_int32, c_void_p, POINTER(Request), POINTER(Plan)),
    "dfx_planner_calibrate": (c_int32, c_void_p, c_int64),
    "dfx_planner_cancel": (None, c_void_p),
    "dfx_planner_error": (c_char_p, c_void_p),
    "dfx_thread_apply": (c_int32, POINTER(Thread), *ERROR),
    "dfx_planner_get_info": (c_int32, c_void_p, POINTER(PlannerInfo)),
    "dfx_executor_open": (c_int32, c_void_p, POINTER(ExecutorOptions), *ERROR, POINTER(c_void_p)),
    "dfx_executor_close": (None, c_void_p),
    "dfx_executor_start": (c_int32, c_void_p, POINTER(c_double), c_void_p, c_int32, *ERROR),
    "dfx_executor_set_conditions": (c_int32, c_void_p, c_void_p, c_int32),
    "dfx_executor_step": (c_int32, c_void_p, POINTER(c_double), POINTER(Step)),
    "dfx_executor_idle": (c_int32, c_void_p),
    "dfx_executor_stop": (None, c_void_p),
    "dfx_executor_get_info": (c_int32, c_void_p, POINTER(ExecutorInfo)),
    "dfx_executor_error": (c_char_p, c_void_p),
}


def built(*targets):
    """What csrc/capi/Makefile makes of its targets, made by one process at a time; the folder."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with open(BUILT / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["make", "-s", "-f", str(ROOT / "csrc" / "capi" / "Makefile"), *targets]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return BUILT


@functools.cache
def library():
    """The shared library, with its functions declared."""
    found = ctypes.CDLL(str(built("all") / "libdiffuser_fast.so"))
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


class Refused(Exception):
    """A status that is not DFX_OK, and its text."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


def check(status, text):
    if status != OK:
        raise Refused(status, text)


class Bundle:
    """An opened bundle, of a path or of bytes."""

    def __init__(self, source):
        self.handle, error, c = c_void_p(), ctypes.create_string_buffer(256), library()
        if isinstance(source, bytes):
            status = c.dfx_bundle_open_memory(source, len(source), error, 256, byref(self.handle))
        else:
            status = c.dfx_bundle_open(str(source).encode(), error, 256, byref(self.handle))
        check(status, error.value.decode())

    def info(self):
        info = BundleInfo()
        check(library().dfx_bundle_get_info(self.handle, byref(info)), "")
        return info

    def self_test(self):
        error = ctypes.create_string_buffer(256)
        check(library().dfx_bundle_self_test(self.handle, error, 256), error.value.decode())

    def close(self):
        library().dfx_bundle_close(self.handle)
        self.handle = None


class CPlanner:
    """A planner of a bundle; plans are (actions, observations, values, dfx_plan)."""

    def __init__(self, bundle, **options):
        self.handle, error = c_void_p(), ctypes.create_string_buffer(256)
        if "isa" in options and options["isa"] is not None:
            options["isa"] = options["isa"].encode()
        status = library().dfx_planner_open(bundle.handle, byref(Options(**options)), error, 256, byref(self.handle))
        check(status, error.value.decode())
        self.info = PlannerInfo()
        check(library().dfx_planner_get_info(self.handle, byref(self.info)), "")

    def request(self, conditions, **others):
        """{time: [O] or {dimension: value}} -> a Request, and what must live as long. A list of such: of situations."""
        dim, keep, made = self.info.observation_dim, [], []
        several = conditions if isinstance(conditions, list) else [conditions]
        for time, value in (item for one in several for item in one.items()):
            observation, given = np.zeros(dim), np.ones(dim, np.uint8)
            if isinstance(value, dict):
                given[:] = 0
                for d, x in value.items():
                    observation[d], given[d] = x, 1
            else:
                observation[:] = value
            keep += [observation, given]
            made.append(Condition(
                time=time, observation=observation.ctypes.data_as(POINTER(c_double)),
                given=given.ctypes.data_as(POINTER(c_uint8)),
            ))  # fmt: skip
        array = (Condition * len(made))(*made)
        each = len(made) // len(several)
        request = Request(n_conditions=each, conditions=ctypes.cast(array, c_void_p), **others)
        return request, (keep, array)

    def started(self, request, prefix=None, last=None, warm_rows=0, shift=0):
        """The request with a prefix (``dfx.Prefix``) and an earlier plan to start from; and what must live as long."""
        keep = []
        if prefix is not None:
            for name in ("actions", "observations"):
                if (rows := getattr(prefix, name)) is not None:
                    keep.append(np.ascontiguousarray(rows, np.float64))
                    setattr(request, f"prefix_{name}", keep[-1].ctypes.data_as(POINTER(c_double)))
            request.prefix_at, request.prefix_length = prefix.at, prefix.length
        if last is not None:
            keep.append(np.ascontiguousarray(last, np.float32))
            request.last, request.n_last = keep[-1].ctypes.data_as(POINTER(c_float)), keep[-1].size
            request.warm_rows, request.shift = warm_rows, shift
        return keep

    def arrays(self):
        i, lead = self.info, self.lead
        shapes = {
            "actions": (i.batch, i.horizon, i.action_dim),
            "observations": (i.batch, i.horizon, i.observation_dim),
            "values": (i.batch,),
        }
        return {name: np.full((*lead, *shape), np.nan, np.float32) for name, shape in shapes.items()}

    @property
    def lead(self):
        """[E] of several situations."""
        return (self.info.situations,) if self.info.situations > 1 else ()

    def out(self, arrays):
        plan = Plan()
        for name, array in arrays.items():
            setattr(plan, name, array.ctypes.data_as(POINTER(c_float)))
            setattr(plan, f"n_{name}", array.size)
        return plan

    def calibrate(self, rest_ns=0):
        check(library().dfx_planner_calibrate(self.handle, rest_ns), library().dfx_planner_error(self.handle).decode())

    def plan(self, conditions, seed=0, number=0, prefix=None, last=None, warm_rows=0, shift=0, **others):
        request, keep = self.request(conditions, seed=seed, number=number, **others)
        keep = keep, self.started(request, prefix, last, warm_rows, shift)
        arrays = self.arrays()
        plan = self.out(arrays)
        depth = self.info.action_dim + self.info.observation_dim
        self.last = np.zeros((*self.lead, self.info.horizon, depth), np.float32)
        plan.last, plan.n_last = self.last.ctypes.data_as(POINTER(c_float)), self.last.size
        plan.n_ran, self.ran = self.info.replay, np.zeros(self.info.replay, np.int32)
        plan.ran = self.ran.ctypes.data_as(POINTER(c_int32))
        status = library().dfx_planner_plan(self.handle, byref(request), byref(plan))
        del keep
        check(status, library().dfx_planner_error(self.handle).decode() if status != OK else "")
        return *arrays.values(), plan

    def close(self):
        library().dfx_planner_close(self.handle)
        self.handle = None


class CExecutor:
    """An executor of a planner; steps are dictionaries of dfx_step, actions copied."""

    def __init__(self, c, **options):
        self.c, self.handle, error = c, c_void_p(), ctypes.create_string_buffer(256)
        status = library().dfx_executor_open(
            c.handle, byref(ExecutorOptions(**options)), error, 256, byref(self.handle)
        )
        check(status, error.value.decode())

    def start(self, observation, conditions=None):
        x, error = np.ascontiguousarray(observation, np.float64), ctypes.create_string_buffer(256)
        request, keep = self.c.request(conditions or {})
        status = library().dfx_executor_start(
            self.handle, x.ctypes.data_as(POINTER(c_double)), request.conditions, request.n_conditions, error, 256
        )
        del keep
        check(status, error.value.decode())

    def step(self, observation):
        step, info = Step(), self.c.info
        x = None if observation is None else np.ascontiguousarray(observation, np.float64)
        pointer = None if x is None else x.ctypes.data_as(POINTER(c_double))
        check(library().dfx_executor_step(self.handle, pointer, byref(step)), self.error())
        found = {name: getattr(step, name) for name, _ in Step._fields_[1:]}
        found["action"] = np.ctypeslib.as_array(step.action, (info.action_dim,)).copy()
        for name, width in (("actions", info.action_dim), ("observations", info.observation_dim)):
            found[name] = np.ctypeslib.as_array(getattr(step, name), (info.horizon, width)).copy()
        return found

    def idle(self):
        return bool(library().dfx_executor_idle(self.handle))

    def info(self):
        info = ExecutorInfo()
        check(library().dfx_executor_get_info(self.handle, byref(info)), "")
        return info

    def error(self):
        return library().dfx_executor_error(self.handle).decode()

    def stop(self):
        library().dfx_executor_stop(self.handle)

    def close(self):
        library().dfx_executor_close(self.handle)
        self.handle = None
