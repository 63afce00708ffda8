"""Closed-loop episodes in Maze2D, many environments side by side: scores, latencies, trajectories."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.scalars import whole
from ..envs import make, normalized_score
from ..planner import Planner
from .tracking import inverse_dynamics_action, waypoint_action

PERCENTILES = (50, 90, 99)
EPISODES = 2**20  # plan j of episode n is number j * EPISODES + n of the planner's seed


@dataclass(frozen=True, eq=False)
class Rollout:
    """N episodes of T steps. returns, scores: ``[N]`` (D4RL-normalised, 100 = the reference controller).

    observations: ``[N, T + 1, 4]``; targets: ``[N, 2]``; plans: ``[N, H, 4]``, each episode's first plan; all physical.
    latency_ms: of every planning call; situations: plans made together in each call.
    """

    env: str
    replan: int | None
    returns: NDArray[np.float64]
    scores: NDArray[np.float64]
    observations: NDArray[np.float64]
    targets: NDArray[np.float64]
    plans: NDArray[np.float32]
    latency_ms: NDArray[np.float64]
    situations: NDArray[np.int64] = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Plain values: mean score, its standard error over episodes, successes, latency percentiles, and every
        episode's return, so that methods can be compared start by start."""
        n = len(self.scores)
        error = float(self.scores.std(ddof=1) / n**0.5) if n > 1 else None
        return {
            "env": self.env,
            "episodes": n,
            "replan": self.replan,
            "score": float(self.scores.mean()),
            "standard_error": error,
            "return": float(self.returns.mean()),
            "reached": float((self.returns > 0).mean()),
            "plans": int(self.situations.sum()),
            "plans_per_call": int(self.situations.max()),
            "call_latency_ms": {f"p{p}": float(np.percentile(self.latency_ms, p)) for p in PERCENTILES},
            "returns": [round(float(r), 3) for r in self.returns],
        }


def rollout(
    planner: Planner, env: str, *, episodes: int = 100, replan: int | None = None, seed: int = 0,
    together: int = 25, progress: Callable[[int, int], None] | None = None,
) -> Rollout:  # fmt: skip
    """Run episodes of ``env`` (maze2d-* or multi2d-*) to their cap and score them.

    replan: plan once and follow it with the paper's controller (None), or plan again every so many steps, up to a
    horizon that shrinks as time passes, and act by inverse dynamics. together: episodes
    side by side, whose plans are made in one call (1 gives the latency of single plans). Episode e starts from
    ``seed + e``, and the noise of its plans is addressed by that number and by how many plans it has had. So scores do
    not depend on ``together``, as far as the engine's numbers do not depend on the batch (those of the CPU engine in
    float32 do not). progress(steps done, steps in all).
    """
    episodes, together, seed = whole("episodes", episodes, 1), whole("together", together, 1), whole("seed", seed, 0)
    replan = None if replan is None else whole("replan", replan, 1)
    if seed + episodes > EPISODES:
        raise ValueError(f"seed: episodes have numbers below {EPISODES}, found {seed} and {episodes} episodes")
    _check(planner, env)
    planner.reset()
    parts = []
    done, total = 0, None
    for first in range(0, episodes, together):
        group = range(first, min(first + together, episodes))
        envs = [make(env) for _ in group]
        cap = envs[0].max_episode_steps
        total = total or cap * -(-episodes // together)
        tick = partial(_report, progress, done, total)
        parts.append(_together(planner, envs, [seed + e for e in group], cap, replan, tick))
        done += cap
    returns, observations, targets, plans, latency, situations = (np.concatenate(p) for p in zip(*parts, strict=True))
    scores = np.array([normalized_score(env, r) for r in returns])
    return Rollout(env, replan, returns, scores, observations, targets, plans, latency, situations)


def goal_conditions(obs: NDArray, targets: NDArray) -> dict[int, NDArray]:
    """At ``obs [E, 4]`` now, at rest on ``targets [E, 2]`` at the end: the conditions the planner was trained on."""
    return {0: obs, -1: np.concatenate((targets, np.zeros_like(targets)), axis=1)}


def horizon_left(planner: Planner, step: int) -> int | None:
    """The horizon of a plan made ``step`` steps into the episode, None when it is too late to plan.

    A plan that may always take its whole horizon never arrives: the original's, made anew at every step, return 0.
    So the goal stays where it is in time. Giving it inside a plan of full length fails too, because the network never
    saw what comes after a goal; a shorter plan that ends there is what it was trained for. Below four times its
    stride the U-Net has too little to look at, and the last plan is followed to its end.
    """
    stride = planner.checkpoint.unet.spec.stride
    left = planner.horizon - step
    return None if left < 4 * stride and step else -(-left // stride) * stride


def _together(
    planner: Planner,
    envs: list,
    seeds: list[int],
    cap: int,
    replan: int | None,
    tick: Callable[[int], None],
) -> tuple[NDArray, ...]:
    obs = np.stack([env.reset(seed=s)[0] for env, s in zip(envs, seeds, strict=True)])
    targets = np.stack([env.target for env in envs])
    seen, returns, latency, made = [obs], np.zeros(len(envs)), [], 0
    plan = first_plan = None
    replanned = itertools.count()
    act = waypoint_action if replan is None else inverse_dynamics_action
    for i in range(cap):
        horizon = horizon_left(planner, i) if plan is None or (replan and i % replan == 0) else None
        if horizon is not None:
            number = next(replanned) * EPISODES + seeds[0]
            plans = planner.plan(goal_conditions(obs, targets), horizon=horizon, number=number)
            plan, made = plans.observations[:, 0], i
            latency.append(plans.latency_ms)
            first_plan = plan if first_plan is None else first_plan
        actions = act(obs, plan, i - made)
        steps = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        obs = np.stack([s[0] for s in steps])
        returns += [s[1] for s in steps]
        seen.append(obs)
        tick(i + 1)
    counts = np.full(len(latency), len(envs))
    return returns, np.stack(seen, axis=1), targets, first_plan, np.array(latency), counts


def _report(progress: Callable[[int, int], None] | None, before: int, total: int, done: int) -> None:
    if progress:
        progress(before + done, total)


def _check(planner: Planner, env: str) -> None:
    made = make(env)  # which says so itself if it is no maze
    found = (planner.checkpoint.observation_dim, planner.checkpoint.action_dim)
    expected = (made.observation_space.shape[0], made.action_space.shape[0])
    if found != expected:
        raise ValueError(
            f"env: {env} has {expected[0]} observations and {expected[1]} actions; the checkpoint was trained for "
            f"{found[0]} and {found[1]}"
        )
