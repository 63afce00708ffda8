"""Errors as multiples of what is allowed: of a conformance case, of plans by seed and by tape, of float64 itself."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

import diffuser_fast as dfx
from bench.problem import Problem
from diffuser_fast.backends import Seeded
from diffuser_fast.conformance import (
    ARITHMETIC,
    EXACT,
    LoopCase,
    OpCase,
    Target,
    implied_by_plan,
    judge,
    run_loops,
    run_ops,
)  # fmt: skip
from diffuser_fast.core.conditions import parse_conditions


def case_error(target: Target, case: OpCase | LoopCase) -> float:
    """The error of a conformance case, worst output, as a multiple of what its class allows."""
    run = run_loops if isinstance(case, LoopCase) else run_ops
    return max(one.verdict.ratio for one in run(target, [case], seeds=(0,)))


def seeded_error(problem: Problem, target: Target, plan: int) -> float:
    """The same of a plan whose noise the engine draws, beside the noise of core/noise.py."""
    noise = Seeded(7, plan)
    implied = implied_by_plan(problem.loop, problem.inpainting, noise, batch=4, arithmetic=target.arithmetic)
    found = target.ready(problem.loop, 4, target.device)(problem.inpainting, noise)
    return judge(found.x, implied.x, exactness=target.exactness).ratio


def traced_error(folder: Path, target: Target) -> float:
    """The same of a plan on a recorded tape (tests/golden), through ``load`` and ``Planner``."""
    with np.load(folder / "golden.npz") as file:
        trace = dict(file)
    where = {"precision": target.precision, "device": target.device}
    planner = dfx.Planner(dfx.load(folder), target.backend, batch_size=trace["tape"].shape[1], **where)
    given = {int(t): obs for t, obs in zip(trace["cond_keys"], trace["cond_vals"], strict=True)}
    with warnings.catch_warnings(action="ignore"):  # mazes were recorded from starts outside their statistics
        plans, normalizers = planner.plan(given, noise=trace["tape"]), planner.checkpoint.normalizers
    inpainting = parse_conditions(given, planner.horizon, normalizers)[0]
    implied = implied_by_plan(planner.loop, inpainting, trace["tape"], arithmetic=target.arithmetic).ranked()
    parts = zip((plans.actions, plans.observations, plans.values), (*implied.physical(normalizers), implied.values))
    return max(judge(*part, exactness=target.exactness).ratio for part in parts)


def float64_error(problem: Problem, device: str) -> float:
    """The same of the reference in float64 on the device, which judges the suite's answers there."""
    found = EXACT.ready(problem.loop, problem.workload.batch, device)(problem.inpainting, problem.tape).x
    implied = implied_by_plan(problem.loop, problem.inpainting, problem.tape, arithmetic=ARITHMETIC["float64"])
    return judge(found, implied.x, sides=2).ratio
