"""A Planner in a program that runs for long: threads, memory, new horizons, plans addressed by number."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.core.spec import UNetSpec, ValueSpec

BACKENDS = sorted({target.backend for target in c.targets()})
ON_EVERY_BACKEND = pytest.mark.parametrize("backend", BACKENDS)
on_cpu = pytest.mark.skipif("cpu" not in BACKENDS, reason="it is of the C++ engine")
H, A, O = 8, 2, 4


def planner(backend="cpu", guided=True, n_train=6, **options):
    spec = UNetSpec(H, A + O, dim=16, dim_mults=(1, 2))
    value = ValueSpec(H, A + O, dim=16, dim_mults=(1, 8)) if guided else None
    made = c.random_checkpoint(spec, value, action_dim=A, n_train=n_train, guide=dfx.Guide(0.3, 2, 1))
    return dfx.Planner(made, backend, **{"batch_size": 3, "threads": 1, **options})


def observations(n, seed=0):
    return np.random.default_rng(seed).normal(0, 0.5, (n, O))


def same(found, expected):
    return all(np.array_equal(getattr(found, f), getattr(expected, f)) for f in ("actions", "observations", "values"))


@ON_EVERY_BACKEND
@pytest.mark.parametrize("threads", [1, 2])
def test_one_planner_under_two_threads(backend, threads):
    """Each call is a right plan or BusyError, and a plan that was refused took no number."""
    one, obs = planner(backend, threads=threads, n_train=20), observations(1)[0]
    expected = [one.plan({0: obs}) for _ in range(20)]
    one.reset()
    found, busy, begin = [], [], threading.Barrier(2)

    def plan_often():
        begin.wait()
        for _ in range(10):
            try:
                found.append(one.plan({0: obs}))
            except dfx.BusyError as error:
                busy.append(str(error))

    threads = [threading.Thread(target=plan_often) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert busy and found and len(found) + len(busy) == 20
    assert busy[0].startswith("planner: another thread is planning with it")
    left = list(expected[: len(found)])
    for plan in found:  # every number once, in whatever order the threads put them down
        match = [n for n, other in enumerate(left) if same(plan, other)]
        assert match
        left.pop(match[0])


@ON_EVERY_BACKEND
def test_cancel(backend):
    one, outcome = planner(backend, n_train=3000), []

    def plan():
        try:
            outcome.append(one.plan({0: observations(1)[0]}))
        except dfx.CancelledError as error:
            outcome.append(error)

    thread = threading.Thread(target=plan)
    thread.start()
    while thread.is_alive():
        one.cancel()
        time.sleep(0.001)
    assert isinstance(outcome[0], dfx.CancelledError)
    one.cancel()  # there is nothing to cancel
    with one._held():
        pass


@on_cpu
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_another_thread_plans():
    one = planner(n_train=20)
    with one._held():
        child = os.fork()
        if child == 0:
            one.plan({0: observations(1)[0]})
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --------------------------------------------------------------------------------------------------- numbered plans


@ON_EVERY_BACKEND
@pytest.mark.parametrize("batch", [1, 3])
def test_situations_at_once_are_the_plans_of_one_call_each(backend, batch):
    """64 situations in one call are the 64 that 64 calls make: the same noise, and on the CPU engine the same bits."""
    obs = observations(64)
    together, apart = (planner(backend, batch_size=batch, seed=4) for _ in range(2))
    many, one = together.plan({0: obs}), [apart.plan({0: o}) for o in obs]
    for e, plans in enumerate(one):
        if backend == "cpu":
            assert np.array_equal(many.observations[e], plans.observations)
            assert np.array_equal(many.values[e], plans.values)
        else:  # torch rounds otherwise in another batch; other noise would be off by its own size
            np.testing.assert_allclose(many.observations[e], plans.observations, atol=1e-2)
    after = together.plan({0: obs[0]}), apart.plan({0: obs[0]})  # and both count 64 plans
    np.testing.assert_allclose(*(plans.observations for plans in after), atol=0 if backend == "cpu" else 1e-2)


@on_cpu
def test_a_plan_by_its_number():
    one, obs = planner(), observations(5)
    plans = [one.plan({0: o}) for o in obs]
    assert same(one.plan({0: obs[3]}, number=3), plans[3])
    several = one.plan({0: obs[2:4]}, number=2)
    assert np.array_equal(several.actions[0], plans[2].actions)
    assert np.array_equal(several.actions[1], plans[3].actions)
    other = planner()
    assert same(other.plan({0: obs[4]}, number=4), plans[4])
    assert same(other.plan({0: obs[0]}), plans[0])  # which did not count
    for wrong in (-1, 2**32, 1.5, "3"):
        with pytest.raises((TypeError, ValueError), match="number"):
            one.plan({0: obs[0]}, number=wrong)
    with pytest.raises(ValueError, match="number: the noise is given"):
        one.plan({0: obs[0]}, number=0, noise=np.zeros((7, 3, H, A + O)))


@ON_EVERY_BACKEND
def test_a_warm_start_is_named(backend):
    one, obs = planner(backend, warm_start=2), observations(1)[0]
    cold, warm = one.plan({0: obs}), one.plan({0: obs}, warm=True)
    assert (cold.exactness, cold.denoising_steps) == ("exact", 6)
    assert (warm.exactness, warm.denoising_steps) == ("approximate", 2)
    assert planner(backend, sampler="ddim", n_steps=3).plan({0: obs}).denoising_steps == 3


# ------------------------------------------------------------------------------------------- memory, new horizons


def in_a_process(body):
    head = f"import sys\nsys.path[:0] = [{os.path.dirname(__file__)!r}]\nfrom test_planner_closed_loop import *\n"
    done = subprocess.run([sys.executable, "-c", head + body], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@on_cpu
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_memory_and_threads_stay_bounded():
    """100 different numbers of situations, then 50 planners: less than 30 MiB more, and no thread."""
    in_a_process(
        """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

checkpoint = dfx.load("maze2d-umaze")
one, obs = dfx.Planner(checkpoint, "cpu", threads=2, sampler="ddim", n_steps=1), np.tile([1.0, 1.0, 0, 0], (100, 1))
one.plan({0: obs[0]})
before, threads = resident(), len(os.listdir("/proc/self/task"))
for n in range(1, 101):
    one.plan({0: obs[:n]})
assert resident() - before < 30, (before, resident())
more = [dfx.Planner(checkpoint, "cpu", threads=2, sampler="ddim", n_steps=1, horizon=32 + 4 * n) for n in range(25)]
more += [dfx.Planner(checkpoint, "cpu", threads=2, sampler="ddim", n_steps=1, batch_size=1 + n) for n in range(25)]
assert len(os.listdir("/proc/self/task")) == threads
assert resident() - before < 200, (before, resident())  # 50 arenas, and one copy of 15 MiB of weights
"""
    )


@on_cpu
def test_weights_are_packed_once():
    """All engines of a network read one copy, whatever their horizon, batch or planner."""
    from diffuser_fast.backends.cpu.records import records

    one = planner(guided=False)
    other = dfx.Planner(one.checkpoint, "cpu", batch_size=7, horizon=12)
    kept = [
        records([(loop.denoiser.fused, loop.denoiser.weights)], "float32", batch)[0].weights
        for loop, batch in ((one.loop, 1), (one._loop(16), 64), (other.loop, 7))
    ]
    for weights in zip(*kept, strict=True):
        assert len({array.ctypes.data for array in weights}) == 1


@on_cpu
def test_the_first_plan_at_a_new_horizon_costs_no_more_than_five_milliseconds_over_the_next():
    """In time of this thread, which others' work does not stretch; the least of several horizons."""
    one = dfx.Planner(dfx.load("maze2d-umaze"), "cpu", threads=1, sampler="ddim", n_steps=2)
    over = []
    for horizon in (32, 48, 64, 80, 96, 112):
        took = []
        for _ in range(3):
            began = time.thread_time()
            one.plan({0: [1.0, 1.0, 0, 0]}, horizon=horizon)
            took.append(time.thread_time() - began)
        over.append(took[0] - min(took[1:]))
    assert min(over) < 5e-3, over
