"""A control loop that plans again all the time: each plan starts from the last one, moved on by a step."""

import numpy as np

import diffuser_fast as dfx
from diffuser_fast.control.rollout import goal_conditions
from diffuser_fast.control.tracking import waypoint_action
from diffuser_fast.envs import make

env = make("maze2d-umaze")
planner = dfx.Planner(dfx.load("maze2d-umaze"), warm_start=8)
obs, _ = env.reset(seed=3)
goal, total, latency = env.target[None], 0.0, []
for step in range(200):
    left = max(1, planner.horizon - 1 - step)
    conditions = {t: o[0] for t, o in goal_conditions(obs[None], goal, left, planner.horizon).items()}
    plans = planner.plan(conditions, warm=step > 0)
    latency.append(plans.latency_ms)
    obs, reward, *_ = env.step(waypoint_action(obs[None], plans.observations[:1], 0)[0])
    total += reward
print(f"return {total:.0f}, planning p50 {np.percentile(latency, 50):.1f} ms, p99 {np.percentile(latency, 99):.1f} ms")
