"""The engine beside torch eager: both plan the same, and the rows say how fast. No time is asserted."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from bench.problem import problem
from bench.workloads import workloads
from diffuser_fast import Planner
from diffuser_fast.cli import latency
from diffuser_fast.conformance import implied_by_plan, judge, random_checkpoint
from diffuser_fast.core.conditions import Inpainting
from diffuser_fast.core.guidance import Guide
from diffuser_fast.core.loop import sampling_loop
from diffuser_fast.core.samplers import ddpm
from diffuser_fast.core.spec import UNetSpec, ValueSpec

torch = pytest.importorskip("torch")

from diffuser_fast.cli.eager_loop import EagerLoop  # noqa: E402 (needs torch)


@pytest.fixture(scope="module")
def planner():
    checkpoint = problem(workloads().find("tiny/guided/b2")).checkpoint
    return Planner(checkpoint, "reference", batch_size=2, threads=1)


def conditions(planner):
    return {0: np.zeros(planner.checkpoint.observation_dim)}


def test_rows(planner):
    rows = latency.engine_vs_eager(planner, conditions(planner), seconds=0.05)
    assert [row["name"] for row in rows] == ["diffuser-fast (reference)", "torch eager"]
    assert all(row["count"] >= 1 and 0 < row["p50_ms"] <= row["p90_ms"] for row in rows)


def test_without_torch_the_engine_is_alone(planner, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (row,) = latency.engine_vs_eager(planner, conditions(planner), seconds=0.02)
    assert row["name"].startswith("diffuser-fast")


def test_several_situations_are_refused(planner):
    many = {0: np.zeros((3, planner.checkpoint.observation_dim))}
    with pytest.raises(ValueError, match="one situation"):
        latency.engine_vs_eager(planner, many, seconds=0.01)


def test_it_leaves_things_as_they_were(planner):
    before = torch.get_num_threads()
    planner.reset(5)
    first = planner.plan(conditions(planner)).actions
    planner.reset(5)
    latency.engine_vs_eager(planner, conditions(planner), seconds=0.01)
    assert torch.get_num_threads() == before
    np.testing.assert_array_equal(planner.plan(conditions(planner)).actions, first)


SIZES = {"transition_dim": 6, "dim": 16}
CASES = {
    "guided": (UNetSpec(16, **SIZES), ValueSpec(16, **SIZES, groups=4), Guide(0.5, 2, 2), {}),
    "attention": (UNetSpec(4, **SIZES, dim_mults=(1, 4, 8), attention=True), None, None, {}),
    "clipped": (UNetSpec(16, **SIZES, dim_mults=(1, 4, 8)), None, None, {"clip_denoised": True}),
    "epsilon, value without a middle": (
        UNetSpec(8, **SIZES, dim_mults=(1, 2)), ValueSpec(8, **SIZES, dim_mults=(1, 2), middle="none"),
        Guide(0.5, 1, 0), {"prediction": "epsilon", "clip_denoised": True},
    ),
    "ranked by value alone": (UNetSpec(16, **SIZES), ValueSpec(16, **SIZES, groups=4), Guide(n_steps=0), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_eager_plans_what_the_reference_plans(name):
    unet, value, guide, options = CASES[name]
    checkpoint = random_checkpoint(unet, value, n_train=4, **options)
    steps = ddpm(checkpoint.schedule, prediction=checkpoint.prediction)
    loop, batch = sampling_loop(checkpoint, steps, guide=guide), 3
    rng, shape = np.random.default_rng(0), (unet.horizon, unet.transition_dim)
    mask = np.zeros(shape, bool)
    mask[[0, -1], 2:] = True
    known = Inpainting(mask, np.where(mask, rng.normal(0, 0.5, shape), 0)[None])
    tape = rng.normal(size=(loop.rows + 1, batch, *shape)).astype(np.float32)
    implied = implied_by_plan(loop, known, tape)
    for eager, right in zip(EagerLoop(checkpoint, loop, batch)(known, tape), (implied.x, implied.values), strict=True):
        assert judge(eager.numpy(), right).passed


def test_eager_refuses_what_the_original_cannot():
    checkpoint = random_checkpoint(*CASES["guided"][:2], n_train=2)
    loop = sampling_loop(checkpoint, ddpm(checkpoint.schedule), guide=Guide())
    with pytest.raises(ValueError, match="g0"):
        EagerLoop(checkpoint, replace(loop, steps=replace(loop.steps, g0=np.ones(2))), 1)
