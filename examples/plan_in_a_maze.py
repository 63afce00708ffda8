"""Three lines to a plan: the bundled planner, from one corner of the U to the other."""

import diffuser_fast as dfx

planner = dfx.Planner(dfx.load("maze2d-umaze"))
plans = planner.plan({0: [3.0, 1.0, 0.0, 0.0], -1: [1.0, 1.0, 0.0, 0.0]})  # x, y, vx, vy now and at the end
print(f"{plans.observations.shape[1]} steps in {plans.latency_ms:.1f} ms, first action {plans.actions[0, 0]}")
