"""A control loop of a workload's planner: observations one after another, and how long each action takes."""

from __future__ import annotations

import time

import numpy as np

from diffuser_fast.planner import Planner

from .problem import checkpoint
from .workloads import Workload

WARM_UP = 20
CALLS = 10_000


def made(workload: Workload, threads: int) -> Planner:
    """The planner of a workload."""
    guide = "auto" if workload.kind == "guided" else None
    return Planner(checkpoint(workload.network), batch_size=workload.batch, guide=guide, threads=threads)


def situations(planner: Planner, n: int) -> np.ndarray:
    """Observations ``[n, O]``, all different."""
    numbers = np.random.default_rng(0).normal(0, 0.5, (n, planner.checkpoint.observation_dim))
    return planner.checkpoint.normalizers.observations.unnormalize(numbers)


def in_turns(planners: list[Planner], calls: int) -> np.ndarray:
    """Milliseconds of each call of ``act``, of planners that take turns: ``[planners, calls]``."""
    seen = situations(planners[0], min(calls, CALLS) + WARM_UP)
    taken = np.empty((len(planners), calls + WARM_UP))
    for n in range(calls + WARM_UP):
        for k, planner in enumerate(planners):
            began = time.perf_counter()
            planner.act(seen[n % len(seen)])
            taken[k, n] = time.perf_counter() - began
    return taken[:, WARM_UP:] * 1e3
