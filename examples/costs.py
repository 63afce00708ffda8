"""Plans that follow a formula: keep out of a ball, on the way through a point. Leaves a picture, costs.png.

python examples/costs.py [--batch-size 64] [--out costs.png]
"""

import argparse

import numpy as np
from matplotlib.figure import Figure

import diffuser_fast as dfx
from diffuser_fast.envs import draw_maze, draw_paths, layout_of

START, GOAL = [1.0, 3.0, 0.0, 0.0], [3.0, 1.0, 0.0, 0.0]
BALL, RADIUS, POINT, AT = np.array([3.2, 3.2]), 0.4, [2.8, 1.8], 85

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--batch-size", type=int, default=64, help="candidate plans of each kind")
parser.add_argument("--out", default="costs.png")
options = parser.parse_args()

# What dfx.Cost.keep_out(BALL, RADIUS) is, written out: any sum, square or hinge of what a plan holds is a cost.
x, y = dfx.Cost.observation(0), dfx.Cost.observation(1)
inside = (RADIUS**2 - (x - BALL[0]) ** 2 - (y - BALL[1]) ** 2).hinge()
keep_out = dfx.Cost(inside, weight=100) + dfx.Cost.step_limit(0.1, weight=0.1)  # and no leap over it

checkpoint = dfx.load("maze2d-umaze")
guided = {"cost": keep_out, "guide": dfx.Guide(scale=1.0, n_steps=2, t_stopgrad=0, variance_power=0.5)}
ends = {0: START, -1: GOAL}
kinds = {
    "no cost": ({}, ends),
    "keep out": (guided, ends),
    f"keep out, at the cross at time {AT}": (guided, {**ends, AT: {0: POINT[0], 1: POINT[1]}}),  # it is inpainted
}
figure = Figure(figsize=(4 * len(kinds), 4.3), layout="constrained")
for axes, (title, (how, conditions)) in zip(figure.subplots(1, len(kinds)), kinds.items(), strict=True):
    plans = dfx.Planner(checkpoint, batch_size=options.batch_size, **how).plan(conditions)
    paths = plans.observations
    entered = np.hypot(*(paths[..., :2] - BALL).transpose(2, 0, 1)).min(axis=1) < RADIUS
    said = f"{entered.mean():.0%} of {len(paths)} plans enter the ball, the best one {'too' if entered[0] else 'not'}"
    print(f"{title}: {said}; {plans.latency_ms:.0f} ms")
    draw_maze(axes, layout_of("maze2d-umaze"), start=START, target=GOAL)
    draw_paths(axes, paths, alpha=0.08)
    turn = np.linspace(0, 2 * np.pi, 100)
    axes.fill(BALL[1] + RADIUS * np.cos(turn), BALL[0] + RADIUS * np.sin(turn), color="black", alpha=0.25, zorder=2)
    if "cross" in title:
        axes.plot(POINT[1], POINT[0], "x", color="black", markersize=12, markeredgewidth=3, zorder=5)
    axes.set_title(title, fontsize=10)
figure.savefig(options.out, dpi=110)
