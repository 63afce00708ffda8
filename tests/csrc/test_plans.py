"""Whole plans: against the interpreter, and against each other where nothing may change."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from csrc import implied, interpreter
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
from diffuser_fast.conformance.error_bounds import judge
from diffuser_fast.core.loop import PlanTables, TimeTables
from diffuser_fast.core.noise import tape as draw_tape

pytestmark = needs_engine


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip((a.x, a.values, a.order), (b.x, b.values, b.order), strict=True))


def agree(results, bounds):
    """Plans of several seeds with what is implied for them."""
    for field in bounds[0]:
        if getattr(results[0], field) is not None:
            verdict = judge([getattr(result, field) for result in results], [bound[field] for bound in bounds])
            assert verdict.passed, f"{field}: {verdict}"
    for result in results:
        assert np.array_equal(result.order, interpreter.ranking(result.values, len(result.values)))


LOOPS = {
    "guided": random_loop(SMALL),
    "cheetah": random_loop(CHEETAH, rows=2, guide_steps=(1, 2)),
    "clipped": random_loop(UNEVEN, guided=False, clip=True),
    "x0 guided": random_loop(SMALL, g0=0.1, clip=True),
    "ranked": random_loop(SMALL, guide_steps=(0,)),
}


@cache
def cases(name, samples):
    """For several seeds: the fewer plans, the more of them."""
    loop, made = LOOPS[name], []
    for seed in range(max(2, 6 // samples)):
        inpainting, tape = random_inpainting(loop, samples, 5 + 10 * seed), random_tape(loop, samples, 6 + 10 * seed)
        made.append((inpainting, tape, implied.by_plan(loop, inpainting, tape)))
    return made


@every_isa
@pytest.mark.parametrize("samples", [1, 2, 5])
@pytest.mark.parametrize("name", LOOPS)
def test_a_plan(isa, name, samples):
    loop, made = LOOPS[name], cases(name, samples)
    engine = cpu.ready(loop, batch=samples, threads=1, isa=isa)
    agree([engine(inpainting, tape, chain=True) for inpainting, tape, _ in made], [bounds for _, _, bounds in made])
    inpainting, tape, _ = made[0]
    first = engine(inpainting, tape, chain=True)
    for threads in (2, 3):
        result = cpu.ready(loop, batch=samples, threads=threads, isa=isa)(inpainting, tape, chain=True)
        assert same(result, first) and np.array_equal(result.chain, first.chain)
    assert (result.x[:, inpainting.mask] == inpainting.values[:, inpainting.mask]).all()


def moved(network, by):
    """The tables of a network, other numbers in them."""
    return TimeTables(network.tables.per_step + np.float32(by))


@every_isa
def test_restarts_and_tables(isa):
    loop = random_loop(SMALL, rows=4)
    inpainting, tape = random_inpainting(loop), random_tape(loop, 3)
    engine = cpu.ready(loop, batch=3, threads=1, isa=isa)
    whole = engine(inpainting, tape, chain=True)
    rest = engine(inpainting, tape, x=whole.chain[:, 2], start=2, chain=True)  # no step here looks at the x0 before
    steps = replace(loop.steps, d=np.zeros(4))
    engine = cpu.ready(replace(loop, steps=steps), batch=3, threads=1, isa=isa)
    whole = engine(inpainting, tape, chain=True)
    rest = engine(inpainting, tape, x=whole.chain[:, 2], start=2, chain=True)
    assert same(rest, whole) and np.array_equal(rest.chain, whole.chain[:, 2:])
    ended = engine(inpainting, tape, x=whole.x, start=4)
    assert np.array_equal(ended.x, whole.x) and not ended.values.any()
    tables = PlanTables(moved(loop.denoiser, 0.3), moved(loop.guide, -0.2))
    changed = engine(inpainting, tape, tables=tables)
    agree([changed], [implied.by_plan(replace(loop, steps=steps), inpainting, tape, tables=tables)])
    assert same(engine(inpainting, tape), whole)


def own_tables(network, samples, form, seed):
    """Tables of N trajectories: the network's, moved for each; in one part or in two, of which both may be each's."""
    rng, shared = np.random.default_rng(seed), network.tables.per_step
    rows, _, width = shared.shape
    each = shared + rng.normal(0, 0.3, (rows, samples, width))
    added = rng.normal(0, 0.3, (samples, width))
    return {"each": TimeTables(each), "added": TimeTables(shared, added), "both": TimeTables(each, added)}[form]


@every_isa
@pytest.mark.parametrize("samples", [1, 5, 35])
@pytest.mark.parametrize("form", ["each", "added", "both"])
def test_tables_of_each_trajectory(isa, form, samples):
    """Each is the plan of the plain loop that has its numbers, to the bit, with any number of threads; and is right."""
    loop = random_loop(SMALL, rows=2, guide_steps=(1, 0))
    inpainting, tape = random_inpainting(loop), random_tape(loop, samples)
    tables = PlanTables(own_tables(loop.denoiser, samples, form, 1), own_tables(loop.guide, samples, form, 2))
    found = [cpu.ready(loop, batch=samples, threads=n, isa=isa)(inpainting, tape, tables=tables) for n in (1, 2, 3)]
    assert same(found[0], found[1]) and same(found[0], found[2])
    if samples <= 5:
        one = cpu.ready(loop, batch=samples, isa=isa)
        tapes = [random_tape(loop, samples, seed) for seed in range(5 // samples)]  # a single value is luck
        agree([one(inpainting, tape, tables=tables) for tape in tapes], [
            {field: bound for field, bound in implied.by_plan(loop, inpainting, tape, tables=tables).items()
             if field != "chain"} for tape in tapes
        ])  # fmt: skip
    for n in {0, samples // 2, samples - 1}:
        networks = {}
        for name, one in (("denoiser", tables.denoiser), ("guide", tables.guide)):
            seen = np.stack(
                [np.broadcast_to(one.step(k), (samples, one.per_step.shape[2]))[n] for k in range(loop.rows)]
            )
            networks[name] = replace(getattr(loop, name), tables=TimeTables(seen[:, None]))
        plain = cpu.ready(replace(loop, **networks), batch=1, threads=1, isa=isa)(inpainting, tape[:, n : n + 1])
        assert np.array_equal(plain.x[0], found[0].x[n]) and plain.values[0] == found[0].values[n]


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
    bounds = implied.by_plan(loop, inpainting, tape, seeded=True)
    for threads in (1, 2, 7):
        agree([cpu.ready(loop, batch=5, threads=threads, isa=isa)(inpainting, noise)], [bounds])


def test_candidates_are_ranked_apart():
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
    """Engines that plan at the same time: one has the pool, the others go alone."""
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
    for wrong in ({"candidates": 3}, {"candidates": -1}, {"start": -1}, {"start": 4}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: must"):
            engine(random_inpainting(loop), random_tape(loop, 2), **wrong)
    with pytest.raises(ValueError, match="inpaint_batch: must be 1 or N"):
        cpu.ready(loop, batch=6, threads=1)(random_inpainting(loop, 3), random_tape(loop, 6))


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
