"""Tails of a control loop: how late the latest of 10,000 actions is."""

from __future__ import annotations

import time

import numpy as np

from diffuser_fast.planner import Planner

from . import machine
from .peers import Settings
from .problem import checkpoint
from .records import Sheet
from .stats import percentile
from .workloads import Workload

WARM_UP = 20
CALLS = 10_000
COLUMNS = ["engine", "calls", "p50 ms", "p99 ms", "p99.9 ms", "slowest ms"]


def tail(workload: Workload, settings: Settings, calls: int = CALLS) -> Sheet:
    """``Planner.act`` called again and again, each time from another observation.

    Nothing is taken out: Python's garbage collector, the scheduler and the neighbours are in it, as on a robot.
    """
    guide = "auto" if workload.kind == "guided" else None
    planner = Planner(checkpoint(workload.network), batch_size=workload.batch, guide=guide, threads=settings.threads)
    numbers = np.random.default_rng(0).normal(0, 0.5, (calls + WARM_UP, planner.checkpoint.observation_dim))
    observations = planner.checkpoint.normalizers.observations.unnormalize(numbers)
    taken = np.empty(calls + WARM_UP)
    with machine.Quiet() as quiet:
        for n, obs in enumerate(observations):
            began = time.perf_counter()
            planner.act(obs)
            taken[n] = time.perf_counter() - began
    ms = taken[WARM_UP:] * 1e3
    row = [planner.backend, calls, *(percentile([ms], q) for q in (50, 99, 99.9)), float(ms.max())]
    return Sheet("tails", workload.name, COLUMNS, [row], quiet.others, quiet.warning)
