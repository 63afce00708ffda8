"""A control loop that plans again at every step, up to a horizon that shrinks as the goal comes closer in time."""

import numpy as np

import diffuser_fast as dfx
from diffuser_fast.control.rollout import goal_conditions, horizon_left
from diffuser_fast.control.tracking import inverse_dynamics_action
from diffuser_fast.envs import make

env = make("maze2d-umaze")
planner = dfx.Planner(dfx.load("maze2d-umaze"))
obs, _ = env.reset(seed=3)
total, latency, made, plan = 0.0, [], 0, None
for step in range(200):
    horizon = horizon_left(planner, step)
    if horizon is not None:  # else follow the last plan to its end
        conditions = {t: given[0] for t, given in goal_conditions(obs[None], env.target[None]).items()}
        plans = planner.plan(conditions, horizon=horizon)
        plan, made = plans.observations[:1], step
        latency.append(plans.latency_ms)
    obs, reward, *_ = env.step(inverse_dynamics_action(obs[None], plan, step - made)[0])
    total += reward
print(f"return {total:.0f}, planning p50 {np.percentile(latency, 50):.1f} ms, p99 {np.percentile(latency, 99):.1f} ms")
