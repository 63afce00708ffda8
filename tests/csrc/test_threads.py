"""The engine's threads: one pool in a process, one plan at a time, and what is the caller's stays the caller's."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from csrc.engines import SMALL, needs_engine, random_inpainting, random_loop, random_tape
from diffuser_fast.backends import cpu
from diffuser_fast.backends.engine import BusyError, CancelledError, Seeded

HERE = Path(__file__).parent
LONG = 300 if "LD_PRELOAD" in os.environ else 3000  # denoising steps: tenths of a second, also under a sanitizer
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
pytestmark = needs_engine


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip((a.x, a.values, a.order), (b.x, b.values, b.order), strict=True))


def pool(least=0):
    """The pool's threads: their numbers, the first worker's first. They have names when they have begun to run; there
    will be ``least``."""
    deadline = time.monotonic() + 10
    while True:
        names = {int(t.name): (t / "comm").read_text().strip() for t in Path("/proc/self/task").iterdir()}
        found = sorted((t for t, name in names.items() if name.startswith("dfx-")), key=lambda t: int(names[t][4:]))
        if len(found) >= least or time.monotonic() > deadline:
            return found
        time.sleep(0.001)


def alone(body):
    """Run a script in a process of its own."""
    head = f"import sys\nsys.path[:0] = [{str(HERE.parent)!r}]\nfrom csrc.test_threads import *\n"
    done = subprocess.run([sys.executable, "-c", head + body], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def planning(engine):
    """A long plan under way in another thread, cancelled at the end."""

    def plan():
        while True:
            try:
                return engine(random_inpainting(engine.loop), Seeded(0, 0))
            except BusyError:  # somebody looked whether it had begun
                continue
            except CancelledError:
                return None

    thread = threading.Thread(target=plan)
    thread.start()
    deadline = time.monotonic() + 30
    while True:
        try:
            engine(random_inpainting(engine.loop), Seeded(0, 0), x=STATE, start=engine.loop.rows - 1)
        except BusyError:
            break
        assert thread.is_alive() and time.monotonic() < deadline
        time.sleep(0.001)
    try:
        yield
    finally:
        while thread.is_alive():
            engine.cancel()
            time.sleep(0.001)


STATE = np.zeros((1, 12, 7), np.float32)


# -------------------------------------------------------------------------------------------- one plan at a time


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (1, 2), (4, 2)])
def test_an_engine_that_is_busy_says_so(batch, threads):
    """Three threads, one engine: each gets a right plan or the error, never a wrong plan, never a hang."""
    loop = random_loop(SMALL, rows=LONG // 10)  # longer than Python lets a thread run, so that they meet
    inpainting, engine = random_inpainting(loop), cpu.ready(loop, batch=batch, threads=threads)
    truth = [engine(inpainting, Seeded(0, n)) for n in range(3)]
    right, wrong, busy, begin = [], [], [], threading.Barrier(3)

    def plan_often(n):
        begin.wait()
        for _ in range(10):
            try:
                (right if same(engine(inpainting, Seeded(0, n)), truth[n]) else wrong).append(n)
            except BusyError as error:
                busy.append(str(error))

    threads = [threading.Thread(target=plan_often, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong and right and busy and len(right) + len(busy) == 30
    assert "another thread is planning with it" in busy[0]


def test_a_probe_of_a_busy_engine():
    loop = random_loop(SMALL, rows=6000)
    engine = cpu.ready(loop, batch=1, threads=1)
    x, table = np.zeros((1, 7, 12), np.float32), np.zeros(loop.denoiser.program.table_width, np.float32)
    with planning(engine):
        assert engine._engine.run(0, [x], table, [x.copy()], 0.0) == cpu.engine.STATUS["busy"]
    assert engine._engine.run(0, [x], table, [x.copy()], 0.0) == cpu.engine.STATUS["ok"]


# ------------------------------------------------------------------------------------------------- being cut off


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (1, 2), (4, 2)])
def test_a_plan_is_cancelled_between_two_denoising_steps(batch, threads):
    loop = random_loop(SMALL, rows=6000)
    engine, outcome = cpu.ready(loop, batch=batch, threads=threads), []

    def plan():
        try:
            outcome.append(engine(random_inpainting(loop), Seeded(0, 0)))
        except CancelledError as error:
            outcome.append(error)

    thread = threading.Thread(target=plan)
    thread.start()
    while thread.is_alive():  # a plan that has not begun is not cancelled
        engine.cancel()
        time.sleep(0.001)
    assert isinstance(outcome[0], CancelledError), outcome
    x = STATE.repeat(batch, axis=0)
    engine(random_inpainting(loop), Seeded(0, 0), x=x, start=loop.rows - 3)  # and now it is free


def test_control_c_ends_a_plan_after_its_denoising_step():
    """A signal as a plan begins: the exception comes before its end, and the engine works as before. In time of
    the processor, which others' work stretches less; and a plan is longer by far than the 50 ms between two looks."""
    out = alone(
        """
for batch, threads in ((1, 1), (1, 2), (8, 2)):
    loop = random_loop(SMALL, rows=LONG if batch > 1 else 4 * LONG)
    engine, inpainting = cpu.ready(loop, batch=batch, threads=threads), random_inpainting(loop)
    began = time.process_time()
    truth = engine(inpainting, Seeded(0, 0))
    whole = time.process_time() - began
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1e-3)
    began = time.process_time()
    try:
        engine(inpainting, Seeded(0, 0))
    except KeyboardInterrupt:
        took = time.process_time() - began
        assert took < 0.8 * whole, (took, whole)
        print("interrupted")
    assert same(engine(inpainting, Seeded(0, 0)), truth)
"""
    )
    assert out.split() == ["interrupted"] * 3


# -------------------------------------------------------------------------------------------------------- the pool


@on_linux
def test_engines_share_the_threads_of_their_process():
    alone(
        """
loop, engines = random_loop(SMALL, rows=1), []
for n in range(12):
    engines.append(cpu.ready(loop, batch=1 + n % 4, threads=1 + n % 4))
    engines[-1](random_inpainting(loop), Seeded(0, 0))
assert len(pool(3)) == 3, pool()
del engines
assert len(pool()) == 3, pool()
status = [line for t in pool() for line in Path(f"/proc/self/task/{t}/status").read_text().splitlines()]
blocked = [line for line in status if "SigBlk" in line]
assert len(blocked) == 3
for line in blocked:  # all but SIGKILL, SIGSTOP and the two that the C library keeps for itself
    assert int(line.split()[1], 16) | 1 << 31 | 1 << 32 | 1 << 8 | 1 << 18 == (1 << 64) - 1, line
"""
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads can be pinned on Linux only")
def test_pinned_engines_keep_to_their_cores_and_give_the_callers_back():
    alone(
        """
before = os.sched_getaffinity(0)
first, last = min(before), max(before)
loop, watched = random_loop(SMALL, rows=LONG), []
for cores in ([first, last], [last, first], [last, last]):
    engine = cpu.ready(loop, batch=1, cores=cores)
    caller, done = threading.get_native_id(), threading.Event()

    def watch():
        while not done.is_set():
            seen.add((frozenset(os.sched_getaffinity(caller)), frozenset(os.sched_getaffinity(pool(1)[0]))))
            time.sleep(0.001)

    seen = set()
    watcher = threading.Thread(target=watch)
    watcher.start()
    engine(random_inpainting(loop), Seeded(0, 0))
    done.set()
    watcher.join()
    assert (frozenset(cores[:1]), frozenset(cores[1:])) in seen, (cores, seen)
    assert os.sched_getaffinity(0) == before
free = cpu.ready(loop, batch=1)
assert free.threads == len(before)
if len(before) > 1:
    free(random_inpainting(loop), Seeded(0, 0))
    assert os.sched_getaffinity(pool()[0]) == before
"""
    )


@on_linux
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_was_forked_in_the_middle_of_a_plan():
    """The plan's thread is not in the child: there the engine is free, and the pool made anew."""
    loop = random_loop(SMALL, rows=6000)
    engine, inpainting = cpu.ready(loop, batch=1, threads=2), random_inpainting(loop)
    truth = engine(inpainting, Seeded(0, 0), x=STATE, start=loop.rows - 3)
    with planning(engine):
        child = os.fork()
        if child == 0:
            ok = all(same(engine(inpainting, Seeded(0, 0), x=STATE, start=loop.rows - 3), truth) for _ in range(5))
            os._exit(0 if ok and len(pool()) <= 1 else 1)  # none if it chose to go alone
        assert exit_code(child) == 0


def exit_code(child):
    """Of a child that ends soon, or is ended."""
    deadline = time.monotonic() + 60
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(found[1])


# --------------------------------------------------------------------------------------------- threads that are late


@contextmanager
def frozen(thread, tmp_path):
    """The thread stands still; others of the process go on."""
    program = tmp_path / "freeze_thread"
    if not program.exists():
        subprocess.run(["gcc", "-O1", str(HERE / "freeze_thread.c"), "-o", str(program)], check=True)
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 & (1 << 64) - 1), 0, 0, 0)  # PR_SET_PTRACER, any
    with subprocess.Popen(
        [str(program), str(thread)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tracer:
        if tracer.stdout.readline() != "frozen\n":
            pytest.skip("this system does not let a process stop another's thread")
        try:
            yield
        finally:
            tracer.stdin.close()
    assert tracer.returncode == 0


@on_linux
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")
def test_threads_dissolve_when_one_is_late(tmp_path):
    """A thread of the pool is frozen: the caller finishes alone with the same bits; the straggler spoils nothing."""
    loop = random_loop(SMALL, rows=10)
    inpainting = random_inpainting(loop)
    truth = cpu.ready(loop, batch=1, threads=1)(inpainting, Seeded(0, 0))
    engine = cpu.ready(loop, batch=1, threads=2)
    with frozen(pool(1)[0], tmp_path):
        late = engine(inpainting, Seeded(0, 0))
        others = [engine(inpainting, Seeded(0, n)) for n in range(3)]  # the pool is not to be had
        other = cpu.ready(loop, batch=4, threads=2)(inpainting, Seeded(0, 0))
        assert engine.dissolved == 1
    time.sleep(0.01)  # the straggler leaves
    assert same(late, truth) and same(others[0], truth) and np.array_equal(other.x[0], truth.x[0])
    for _ in range(20):
        assert same(engine(inpainting, Seeded(0, 0)), truth)


@on_linux
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("batch", [1, 3])
def test_the_caller_goes_on_where_its_threads_stood(tmp_path, batch):
    """A thread is frozen in the middle of a plan: what all had done is kept, and the bits are the same, in a sampler
    that remembers the last x0 and in groups of trajectories of which some are finished."""
    loop = random_loop(SMALL, rows=LONG)
    inpainting = random_inpainting(loop)
    truth = cpu.CpuEngine(loop, batch, group=1)(inpainting, Seeded(0, 0), chain=True)
    went_on, deadline = 0, time.monotonic() + 60
    while went_on < 3 and time.monotonic() < deadline:  # threads that nobody froze may dissolve too, at the beginning
        engine, found, chain = cpu.CpuEngine(loop, batch, threads=2, group=1), [], went_on == 2
        planner = threading.Thread(
            target=lambda e=engine, f=found, c=chain: f.append(e(inpainting, Seeded(0, 0), chain=c))
        )
        planner.start()
        time.sleep(0.01)
        with frozen(pool(1)[0], tmp_path):
            time.sleep(0.05)
        planner.join(60)
        assert same(found[0], truth)
        assert not chain or np.array_equal(found[0].chain, truth.chain)
        went_on += (engine.resumed or 0) > 0
    assert went_on == 3


@on_linux
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")
def test_a_caller_that_outranks_a_stopped_thread(tmp_path):
    """SCHED_FIFO from after the opening on, and its thread frozen: no plan takes three times what one takes alone."""
    loop = random_loop(SMALL, rows=LONG // 4)
    inpainting, engines = random_inpainting(loop), [cpu.ready(loop, batch=1, threads=n) for n in (1, 2)]
    before, took = (os.sched_getscheduler(0), os.sched_getparam(0)), ([], [])
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pytest.skip("this process may not use SCHED_FIFO")
    try:
        with frozen(pool(1)[0], tmp_path):
            for _ in range(12):
                for engine, times in zip(engines, took, strict=True):
                    began = time.perf_counter()
                    engine(inpainting, Seeded(0, 0))
                    times.append(time.perf_counter() - began)
    finally:
        os.sched_setscheduler(0, *before)
    assert max(took[1]) <= 3 * max(took[0])


@on_linux
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")
def test_an_engine_is_closed_while_a_thread_is_late(tmp_path):
    """What the straggler still reads is there until it has left; what the caller lent it, until the plan returns."""
    loop = random_loop(SMALL, rows=10)
    inpainting, tape = random_inpainting(loop), random_tape(loop, 1)
    truth = cpu.ready(loop, batch=1, threads=1)(inpainting, tape, chain=True)
    for noise, seconds in ((Seeded(0, 0), 0.0), (tape, 0.2)):
        engine = cpu.ready(loop, batch=1, threads=2)
        with frozen(pool(1)[0], tmp_path):
            if seconds == 0:
                engine(inpainting, noise)
                closer = threading.Thread(target=engine.__dict__.pop, args=("_engine",))
            else:
                found = []
                closer = threading.Thread(target=lambda: found.append(engine(inpainting, noise, chain=True)))  # noqa: B023
            closer.start()
            time.sleep(0.05)
        closer.join(30)
        assert not closer.is_alive()
    assert same(found[0], truth) and np.array_equal(found[0].chain, truth.chain)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads can be pinned on Linux only")
def test_threads_that_share_a_core_dissolve():
    core = min(os.sched_getaffinity(0))
    loop = random_loop(SMALL, rows=40)
    inpainting = random_inpainting(loop)
    truth = cpu.ready(loop, batch=1, threads=1)(inpainting, Seeded(0, 0))
    engine = cpu.ready(loop, batch=1, cores=[core, core])
    for _ in range(5):
        assert same(engine(inpainting, Seeded(0, 0)), truth)
    assert engine.dissolved


# --------------------------------------------------------------------------------------------- floating-point mode

MODES = {"down": 0x2000, "up": 0x4000, "to zero": 0x6000, "flush": 0x8000, "denormals are zero": 0x0040}


def control(bits=None):
    """MXCSR of this thread; set to the default and these bits, if given."""
    libm, env = ctypes.CDLL("libm.so.6"), (ctypes.c_uint32 * 8)()
    libm.fegetenv(env)
    before = env[7]
    if bits is not None:
        env[7] = 0x1F80 | bits
        libm.fesetenv(env)
    return before & 0xFFC0


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="it sets MXCSR by hand")
@pytest.mark.parametrize("mode", MODES)
def test_the_callers_floating_point_mode_changes_nothing(mode):
    """On one thread or several; and it is the caller's again afterwards."""
    alone(
        f"""
loop = random_loop(SMALL)
inpainting = random_inpainting(loop)
engines = [cpu.ready(loop, batch=1, threads=n) for n in (1, 2, 3)]
truth = engines[0](inpainting, Seeded(0, 0))
control({MODES[mode]})
found = [engine(inpainting, Seeded(0, 0)) for engine in engines for _ in range(2)]
after = control(0)
assert after == 0x1F80 | {MODES[mode]}, hex(after)
assert all(same(one, truth) for one in found)
"""
    )
