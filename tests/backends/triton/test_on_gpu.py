"""What only a GPU can show: the graph, its replay, its company. Conformance and goldens find a GPU by themselves."""

import threading

import numpy as np
import pytest
import torch
from bounds import within

from diffuser_fast import backends
from diffuser_fast import conformance as c
from diffuser_fast.backends import cpu
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.backends.gpu import staging
from diffuser_fast.core import noise

REASON = backends.why_not("triton", c.loop_cases()[0].loop)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
CASES = {case.name: case for case in c.loop_cases()}
GUIDED = CASES["hopper"]


@pytest.fixture(scope="module")
def engine():
    return backends.get("triton").ready(GUIDED.loop, batch=GUIDED.batch)


def test_the_plan_is_a_graph(engine):
    assert engine.reason is None


def test_a_graph_is_replayed_with_other_seeds(engine):
    """Seeds reach the kernels through memory: the same graph, other noise, and what plain launches compute."""
    plans = [engine(GUIDED.inpainting, Seeded(seed, plan)) for seed, plan in ((1, 0), (1, 1), (2, 0), (1, 0))]
    assert len(engine._modes) == 1
    assert all(np.abs(plans[0].x - other.x).max() > 0.01 for other in plans[1:3])
    np.testing.assert_array_equal(plans[0].x, plans[3].x)
    replay = engine._prepared(staging.Mode(candidates=GUIDED.batch)).run
    graph, replay._graph = replay._graph, None
    try:
        plain = engine(GUIDED.inpainting, Seeded(1, 0))
    finally:
        replay._graph = graph
    for field in ("x", "values", "order"):
        np.testing.assert_array_equal(getattr(plain, field), getattr(plans[0], field))


def test_noise_is_that_of_core_noise(engine):
    """Where nothing is inpainted, the chain of a plan of the last denoising step alone begins with its first noise."""
    loop = GUIDED.loop
    chain = engine(GUIDED.inpainting, Seeded(9, 3), start=loop.rows - 1, chain=True).chain
    law = noise.draw(9, 3, 0, GUIDED.batch, loop.horizon, loop.transition_dim)
    free = ~GUIDED.inpainting.mask
    error = np.abs(chain[:, 0].astype(np.float64) - law)[:, free]
    assert (error <= 4 * np.spacing(np.maximum(np.abs(law[:, free]), 1).astype(np.float32))).all()


def test_the_same_seed_plans_as_the_cpu_engine_does(engine):
    if (reason := cpu.why_not()) is not None:
        pytest.skip(reason)
    loop, case = GUIDED.loop, GUIDED
    implied = c.implied_by_plan(loop, case.inpainting, Seeded(5, 0), batch=case.batch)
    for one in (engine, cpu.ready(loop, batch=case.batch)):
        within(one(case.inpainting, Seeded(5, 0)).x, implied.x)


def test_nothing_waits_between_the_copies(engine):
    prepared = engine._prepared(staging.Mode(candidates=GUIDED.batch))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        prepared.run._enqueue(prepared.run.work)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()


def test_a_plan_allocates_no_device_memory(engine):
    engine(GUIDED.inpainting, Seeded(0, 0))
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    engine(GUIDED.inpainting, Seeded(0, 1))
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def test_other_work_on_the_gpu_does_not_disturb_it(engine):
    """Another thread multiplies matrices on its own stream, an engine is captured meanwhile, and plans are the same."""
    expected = engine(GUIDED.inpainting, Seeded(4, 4))
    stop, failed = threading.Event(), []

    def work():
        try:
            a = torch.randn(512, 512, device="cuda")
            with torch.cuda.stream(torch.cuda.Stream()):
                while not stop.is_set():
                    (a @ a).sum().item()
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        again = backends.get("triton").ready(GUIDED.loop, batch=GUIDED.batch)
        for _ in range(20):
            for one in (engine, again):
                np.testing.assert_array_equal(one(GUIDED.inpainting, Seeded(4, 4)).x, expected.x)
    finally:
        stop.set()
        thread.join()
    assert not failed and again.reason is None


@pytest.mark.parametrize("precision", ["float32-close", "tf32", "fp16", "bf16"])
def test_other_precisions_state_their_deviation(precision, record_property):
    case = CASES["hopper at full width"]
    found = case.plan(backends.get("triton").ready(case.loop, batch=case.batch, precision=precision))
    arithmetic, exactness = c.ARITHMETIC[precision], c.Target("triton", precision=precision).exactness
    implied = c.implied_by_plan(case.loop, case.inpainting, case.tape, arithmetic=arithmetic)
    deviation = np.abs(found.x - implied.x.exact).max() / np.abs(implied.x.exact).max()
    record_property("deviation", float(deviation))
    print(f"{precision}: largest deviation {deviation:.1e} of the largest number")
    within(found.x, implied.x, precision, exactness=exactness)
