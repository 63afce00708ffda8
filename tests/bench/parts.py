"""pytest-benchmark: our engines, and what is done around them. `python -m pytest tests/bench/parts.py`.

The suite compares with others; this is for watching one's own change, with `--benchmark-save` and
`--benchmark-compare`.
"""

import numpy as np
import pytest

from bench.peers import Settings
from bench.peers.ours import engines
from bench.problem import checkpoint, problem
from bench.workloads import workloads
from diffuser_fast import backends
from diffuser_fast.core.loop import sampling_loop
from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import fuse, plan_memory, vjp
from diffuser_fast.core.samplers import ddpm
from diffuser_fast.planner import Planner

WORKLOADS = [*workloads().sets["layers"], "hopper/guided/b1", "halfcheetah/step/b64"]
HOPPER = checkpoint(workloads().networks["hopper"])
VALUE = vjp(lower(HOPPER.value.spec).net)
LOOP = sampling_loop(HOPPER, ddpm(HOPPER.schedule), guide=HOPPER.guide)
PARTS = {
    "lower": lambda: lower(HOPPER.unet.spec),
    "fuse": lambda: fuse(VALUE),
    "memory planner": lambda: plan_memory(VALUE),
    "sampling loop": lambda: sampling_loop(HOPPER, ddpm(HOPPER.schedule), guide=HOPPER.guide),
    "engine": lambda: backends.get("cpu").ready(LOOP, batch=64),
}


@pytest.mark.parametrize("name", PARTS)
def test_load(benchmark, name):
    benchmark(PARTS[name])


def test_plan_around_the_engine(benchmark):
    """A plan of one denoising step: little is left but what surrounds it."""
    planner = Planner(HOPPER, batch_size=1, guide=None, sampler="ddim", n_steps=1)
    benchmark(planner.plan, {0: np.zeros(HOPPER.observation_dim)})


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("engine", engines(Settings()), ids=lambda engine: engine.name)
def test_engine(benchmark, engine, threads, workload):
    given, settings = problem(workloads().find(workload)), Settings(threads=threads)
    if (reason := engine.why_not(given, settings)) is not None:
        pytest.skip(reason)
    benchmark.group = f"{workload}, {threads} threads"
    benchmark(engine.ready(given, settings).run)
