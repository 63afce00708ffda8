"""Tails of a control loop: how late the latest of 10,000 actions is."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from diffuser_fast.planner import Planner

from . import machine
from .ladder import warning
from .peers import Settings
from .problem import checkpoint
from .stats import percentile
from .workloads import Workload

WARM_UP = 20


def tail(workload: Workload, settings: Settings, calls: int) -> dict[str, Any]:
    """Fields of a "tail" row: ``Planner.act`` called again and again, each time from another observation.

    Nothing is taken out: Python's garbage collector, the scheduler and the neighbours are in it, as on a robot.
    """
    if workload.kind not in ("plan", "guided"):
        raise ValueError(f"--tails: {workload.name} is not a plan")
    guide = "auto" if workload.kind == "guided" else None
    planner = Planner(checkpoint(workload.network), batch_size=workload.batch, guide=guide, threads=settings.threads)
    rng = np.random.default_rng(0)
    observations = planner.checkpoint.normalizers.observations.unnormalize(
        rng.normal(0, 0.5, (calls + WARM_UP, planner.checkpoint.observation_dim))
    )
    before, taken = machine.Busy.now(), np.empty(calls + WARM_UP)
    for n, obs in enumerate(observations):
        began = time.perf_counter()
        planner.act(obs)
        taken[n] = time.perf_counter() - began
    disturbance = machine.others(before, machine.Busy.now())
    ms = taken[WARM_UP:] * 1e3
    return {
        "workload": workload.name,
        "candidate": planner.backend,
        "threads": settings.threads,
        "calls": calls,
        "p50_ms": percentile([ms], 50),
        "p99_ms": percentile([ms], 99),
        "p99_9_ms": percentile([ms], 99.9),
        "max_ms": float(ms.max()),
        "others": disturbance,
        "warning": warning(disturbance),
    }
