"""Whole plans: against the interpreter, and against each other where nothing may change."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from csrc import interpreter
from csrc.engines import (
    CHEETAH,
    SMALL,
    UNEVEN,
    every_isa,
    needs_engine,
    random_inpainting,
    random_loop,
    random_tape,
)  # fmt: skip
from diffuser_fast.backends import cpu
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.core.noise import tape as draw_tape

pytestmark = needs_engine


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip((a.x, a.values, a.order), (b.x, b.values, b.order), strict=True))


def agree(result, exact, tolerance=1e-4):
    x, values, order, chain = exact
    assert np.abs(result.x - x).max() < tolerance and np.abs(result.values - values).max() < tolerance
    assert np.array_equal(result.order, order)
    if result.chain is not None:
        assert result.chain.shape == chain.shape and np.abs(result.chain - chain).max() < tolerance


@every_isa
@pytest.mark.parametrize("samples", [1, 2, 5])
@pytest.mark.parametrize(
    "loop",
    [
        random_loop(SMALL),
        random_loop(CHEETAH, rows=2, guide_steps=(1, 2)),
        random_loop(UNEVEN, guided=False, clip=True),
        random_loop(SMALL, g0=0.1, clip=True),
        random_loop(SMALL, guide_steps=(0,)),
    ],
    ids=["guided", "cheetah", "clipped", "gradient added to x0", "ranked"],
)
def test_a_plan(isa, loop, samples):
    inpainting, tape = random_inpainting(loop, samples), random_tape(loop, samples)
    exact, first = interpreter.plan(loop, inpainting, tape), None
    for threads in (1, 2, 3):
        result = cpu.ready(loop, batch=samples, threads=threads, isa=isa)(inpainting, tape, chain=True)
        agree(result, exact)
        first = first or result
        assert same(result, first) and np.array_equal(result.chain, first.chain)
    assert (result.x[:, inpainting.mask] == inpainting.values[:, inpainting.mask]).all()


@every_isa
def test_restarts_and_tables(isa):
    loop = random_loop(SMALL, rows=4)
    inpainting, tape = random_inpainting(loop), random_tape(loop, 3)
    engine = cpu.ready(loop, batch=3, threads=1, isa=isa)
    whole = engine(inpainting, tape, chain=True)
    rest = engine(
        inpainting, tape, x=whole.chain[:, 2], start=2, chain=True
    )  # no denoising step here looks at the previous x0
    steps = replace(loop.steps, d=np.zeros(4))
    engine = cpu.ready(replace(loop, steps=steps), batch=3, threads=1, isa=isa)
    whole = engine(inpainting, tape, chain=True)
    rest = engine(inpainting, tape, x=whole.chain[:, 2], start=2, chain=True)
    assert same(rest, whole) and np.array_equal(rest.chain, whole.chain[:, 2:])
    ended = engine(inpainting, tape, x=whole.x, start=4)
    assert np.array_equal(ended.x, whole.x) and not ended.values.any()
    tables = (loop.denoiser.tables + 0.3, loop.guide.tables - 0.2)
    changed = engine(inpainting, tape, tables=tables)
    agree(changed, interpreter.plan(replace(loop, steps=steps), inpainting, tape, tables=tables))
    assert same(engine(inpainting, tape), whole)


@every_isa
@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_is_its_members(isa, threads):
    """Seeded or from a tape, each trajectory of 35 gives the bits it gives alone."""
    loop = random_loop(SMALL, rows=2, guide_steps=(1, 0))
    inpainting, tape = random_inpainting(loop, 35), random_tape(loop, 35)
    batch = cpu.ready(loop, batch=35, threads=threads, isa=isa)(inpainting, tape)
    one = cpu.ready(loop, batch=1, threads=threads, isa=isa)
    for b in (0, 17, 34):
        alone = one(replace(inpainting, values=inpainting.values[b : b + 1]), tape[:, b : b + 1])
        assert np.array_equal(alone.x[0], batch.x[b]) and alone.values[0] == batch.values[b]


@every_isa
@pytest.mark.parametrize("seed", [0, 2**63 + 12345])
def test_seeded_noise(isa, seed):
    loop, noise = random_loop(SMALL), Seeded(seed, 2**32 - 1)
    inpainting = random_inpainting(loop)
    tape = draw_tape(seed, noise.plan, loop.rows, 5, loop.horizon, loop.transition_dim)
    exact = interpreter.plan(loop, inpainting, tape)
    for threads in (1, 2, 7):
        agree(cpu.ready(loop, batch=5, threads=threads, isa=isa)(inpainting, noise), exact)


def test_candidates_are_ranked_by_group():
    loop = random_loop(SMALL)
    inpainting, tape = random_inpainting(loop, 6), random_tape(loop, 6)
    tape[:, 4] = tape[:, 3]  # a tie keeps its order
    inpainting.values[4] = inpainting.values[3]
    result = cpu.ready(loop, batch=6, threads=1)(inpainting, tape, candidates=3)
    assert np.array_equal(result.order, interpreter.ranking(result.values, 3))
    assert set(result.order[:3]) == {0, 1, 2} and set(result.order[3:]) == {0, 1, 2}
    large = cpu.ready(random_loop(UNEVEN, guided=False), batch=100, threads=1)
    assert np.array_equal(large(random_inpainting(large.loop), Seeded(0, 0)).order, np.arange(100))


def test_a_plan_that_is_not_finite_names_its_denoising_step():
    loop = random_loop(SMALL)
    inpainting, tape = random_inpainting(loop), random_tape(loop, 4)
    for value in (np.nan, np.inf):
        tape[2, 3, 5, 3] = value
        for threads in (1, 2):
            with pytest.raises(FloatingPointError, match=r"denoising step 1 \(t = 1\)"):
                cpu.ready(loop, batch=4, threads=threads)(inpainting, tape)


def test_engines_side_by_side():
    """Two engines, each with threads of its own, planning at the same time."""
    loop = random_loop(SMALL)
    inpainting, tape = random_inpainting(loop), random_tape(loop, 4)
    truth = cpu.ready(loop, batch=4, threads=1)(inpainting, tape)
    wrong = []

    def plan_often(threads):
        engine = cpu.ready(loop, batch=4, threads=threads)
        for _ in range(10):
            if not same(engine(inpainting, tape), truth):
                wrong.append(threads)

    workers = [threading.Thread(target=plan_often, args=(n,)) for n in (1, 2, 3, 8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("samples", [1, 4])
def test_after_a_fork(samples):
    """A child has none of its parent's threads: the engine makes new ones, and both go on."""
    loop = random_loop(SMALL)
    inpainting, tape = random_inpainting(loop), random_tape(loop, samples)
    engine = cpu.ready(loop, batch=samples, threads=2)
    truth = engine(inpainting, tape)
    child = os.fork()
    if child == 0:
        ok = all(same(engine(inpainting, tape), truth) for _ in range(3))
        del engine
        os._exit(0 if ok else 1)
    assert same(engine(inpainting, tape), truth)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_open_and_close_often():
    loop = random_loop(SMALL, rows=1)
    inpainting, tape = random_inpainting(loop), random_tape(loop, 3)
    results = [cpu.ready(loop, batch=3, threads=n % 4 + 1)(inpainting, tape) for n in range(24)]
    assert all(same(result, results[0]) for result in results)


def test_bad_arguments_are_named():
    loop = random_loop(SMALL)
    with pytest.raises(ValueError, match="precision: the cpu backend has float32"):
        cpu.ready(loop, batch=1, precision="fp16")
    with pytest.raises(ValueError, match="threads"):
        cpu.ready(loop, batch=1, threads=0)
    with pytest.raises(ValueError, match="isa: this CPU does not have mmx"):
        cpu.ready(loop, batch=1, isa="mmx")
    assert "not on 'cuda'" in cpu.why_not(loop, "cuda")
    engine = cpu.ready(loop, batch=2, threads=1)
    with pytest.raises(ValueError, match="noise"):
        engine(random_inpainting(loop), random_tape(loop, 3))
    with pytest.raises(ValueError, match="out of range"):
        engine(random_inpainting(loop), random_tape(loop, 2), candidates=3)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads can be pinned on Linux only")
def test_threads_stay_on_their_cores():
    """In a process of its own, for the caller's thread is pinned too."""
    script = f"""
import os, sys
sys.path[:0] = [{str(Path(__file__).parents[1])!r}]
from csrc.engines import SMALL, random_inpainting, random_loop
from diffuser_fast.backends import cpu
from diffuser_fast.backends.engine import Seeded
allowed = sorted(os.sched_getaffinity(0))
cores = [allowed[-1], allowed[0], allowed[-1]]
loop = random_loop(SMALL)
before = set(os.listdir("/proc/self/task"))
engine = cpu.ready(loop, batch=1, cores=cores)
assert engine.threads == 3
engine(random_inpainting(loop), Seeded(0, 0))
places = [os.sched_getaffinity(int(thread)) for thread in sorted(set(os.listdir("/proc/self/task")) - before, key=int)]
assert os.sched_getaffinity(0) == {{cores[0]}}, os.sched_getaffinity(0)
assert places == [{{cores[1]}}, {{cores[2]}}], places
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_cores_that_make_no_sense():
    loop = random_loop(SMALL)
    with pytest.raises(ValueError, match="cores: found 1, expected one for each of 2 threads"):
        cpu.ready(loop, batch=1, threads=2, cores=[0])
    if hasattr(os, "sched_setaffinity"):
        with pytest.raises(ValueError, match="cores: this process may not use core 9999"):
            cpu.ready(loop, batch=1, cores=[9999])


@pytest.mark.parametrize("threads", [2, 7])
def test_more_threads_than_cores(threads):
    """Slower, never stuck, and the same numbers."""
    loop = random_loop(SMALL, rows=8)
    inpainting, tape = random_inpainting(loop), random_tape(loop, 1)
    truth = cpu.ready(loop, batch=1, threads=1)(inpainting, tape)
    script = f"""
import os, sys
sys.path[:0] = [{str(Path(__file__).parents[1])!r}]
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
from csrc.engines import SMALL, random_inpainting, random_loop, random_tape
from diffuser_fast.backends import cpu
loop = random_loop(SMALL, rows=8)
engine = cpu.ready(loop, batch=1, threads={threads})
for _ in range(20):
    result = engine(random_inpainting(loop), random_tape(loop, 1))
sys.stdout.buffer.write(result.x.tobytes())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == truth.x.tobytes()
