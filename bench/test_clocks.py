"""pytest-benchmark: what is done at load and at every plan, around the engine. `python -m pytest bench`."""

import numpy as np
import pytest

from bench.problem import checkpoint
from bench.workloads import ladder
from diffuser_fast import backends
from diffuser_fast.core.conditions import parse_conditions
from diffuser_fast.core.loop import sampling_loop
from diffuser_fast.core.lower import lower
from diffuser_fast.core.noise import tape
from diffuser_fast.core.passes import fuse, plan_memory, time_tables, vjp
from diffuser_fast.core.samplers import ddpm
from diffuser_fast.planner import Planner


@pytest.fixture(scope="module")
def hopper():
    return checkpoint(ladder().networks["hopper"])


@pytest.fixture(scope="module")
def value(hopper):
    return lower(hopper.value.spec).net


def test_lower(benchmark, hopper):
    benchmark(lower, hopper.unet.spec)


def test_vjp(benchmark, value):
    benchmark(vjp, value)


def test_fuse(benchmark, value):
    benchmark(fuse, vjp(value))


def test_place(benchmark, value):
    benchmark(plan_memory, fuse(vjp(value)))


def test_fold(benchmark, hopper):
    time, steps = lower(hopper.unet.spec).time, np.arange(20)
    benchmark(time_tables, time, hopper.unet.arrays, steps, hopper.unet.spec.dim)


def test_sampling_loop(benchmark, hopper):
    benchmark(sampling_loop, hopper, ddpm(hopper.schedule), guide=hopper.guide)


def test_ready(benchmark, hopper):
    loop = sampling_loop(hopper, ddpm(hopper.schedule), guide=hopper.guide)
    if (reason := backends.why_not("cpu", loop)) is not None:
        pytest.skip(reason)
    benchmark(backends.get("cpu").ready, loop, batch=64)


def test_conditions(benchmark, hopper):
    benchmark(parse_conditions, {0: np.zeros(11)}, 32, hopper.normalizers)


def test_noise_tape(benchmark):
    benchmark(tape, 0, 0, 20, 1, 32, 14)


def test_planner_around_the_engine(benchmark, hopper):
    """A plan of one row: little is left but what surrounds it."""
    planner = Planner(hopper, "auto", batch_size=1, guide=None, sampler="ddim", n_steps=1)
    benchmark(planner.plan, {0: np.zeros(11)})
