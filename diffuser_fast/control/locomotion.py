"""Closed-loop episodes of a locomotion body: plan at every step, take the best plan's first action (Janner et al. 2022,
algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..envs.locomotion import MAX_EPISODE_STEPS, body_of, make_body
from ..envs.scores import normalized_score
from ..planner import Planner

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, eq=False)
class BodyRollout:
    """N episodes. returns: ``[N]``; lengths: ``[N]``, steps, 1000 unless the body fell; seed: of the first episode.

    latency_ms: of every plan. qpos: ``[T + 1, nq]`` and plans: ``[T, H, O]``, physical, of the first episode.
    """

    env: str
    seed: int
    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    qpos: NDArray[np.float64] = field(repr=False)
    plans: NDArray[np.float32] = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Plain values: mean return, D4RL-normalised score (a ruler: the bodies are v5), standard errors over episodes,
        latency percentiles, and every episode's return, so that methods can be compared seed by seed."""
        n = len(self.returns)
        scores = np.array([normalized_score(self.env, r) for r in self.returns])
        error = [float(x.std(ddof=1) / n**0.5) if n > 1 else None for x in (scores, self.returns)]
        return {
            "env": self.env,
            "episodes": n,
            "seed": self.seed,
            "replan": 1,
            "score": float(scores.mean()),
            "standard_error": error[0],
            "return": float(self.returns.mean()),
            "return_standard_error": error[1],
            "length": float(self.lengths.mean()),
            "plans": len(self.latency_ms),
            "call_latency_ms": {f"p{p}": float(np.percentile(self.latency_ms, p)) for p in PERCENTILES},
            "returns": [round(float(r), 3) for r in self.returns],
        }


def rollout_body(
    planner: Planner, env_id: str, *, episodes: int = 50, seed: int = 0, max_steps: int = MAX_EPISODE_STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> BodyRollout:  # fmt: skip
    """Run episodes of a body (``hopper``, ``hopper-medium``, ...) until it falls or ``max_steps`` are over.

    Episode e begins from, and has the noise of, ``seed + e``: any split of the episodes over processes gives the same
    ones. With the planner's ``warm_start`` all plans but an episode's first start from the one before.
    progress(steps done, steps at most).
    """
    if episodes < 1 or not 1 <= max_steps <= MAX_EPISODE_STEPS:
        raise ValueError(
            f"episodes, max_steps: found {episodes}, {max_steps}, expected at least 1, and at most {MAX_EPISODE_STEPS}"
        )
    body = body_of(env_id)
    found = planner.checkpoint.observation_dim, planner.checkpoint.action_dim
    if found != (body.observation_dim, body.action_dim):
        raise ValueError(
            f"env: {body.env_id} has {body.observation_dim} observations and {body.action_dim} actions; "
            f"the checkpoint was trained for {found[0]} and {found[1]}"
        )
    env, made = make_body(env_id), []
    for e in range(episodes):

        def tick(step: int, e: int = e) -> None:
            if progress:
                progress(e * max_steps + step, episodes * max_steps)

        made.append(_episode(planner, env, seed + e, max_steps, tick, traced=e == 0))
    returns, latency, traces = zip(*made, strict=True)
    qpos, plans = traces[0]
    return BodyRollout(
        env_id, seed, np.array(returns), np.array([len(ms) for ms in latency]), np.concatenate(latency), qpos, plans
    )


def _episode(
    planner: Planner, env: Any, seed: int, max_steps: int, tick: Callable[[int], None], *, traced: bool
) -> tuple[float, list[float], tuple[NDArray, NDArray]]:  # fmt: skip
    obs, _ = env.reset(seed=seed)
    planner.reset(seed)
    total, latency, qpos, planned = 0.0, [], [env.data.qpos.copy()], []
    for step in range(max_steps):
        plans = planner.plan({0: obs}, warm=planner.warm_start is not None)
        # The motors clip anyway; the environment's cost of control would be for what was asked of them.
        obs, reward, terminated, _, _ = env.step(np.clip(plans.actions[0, 0], -1, 1))
        total += reward
        latency.append(plans.latency_ms)
        if traced:
            qpos.append(env.data.qpos.copy())
            planned.append(plans.observations[0])
        tick(step + 1)
        if terminated:
            break
    return float(total), latency, (np.array(qpos), np.array(planned))
