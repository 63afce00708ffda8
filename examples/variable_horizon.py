"""Plans of other lengths than the trained one, by the same network: where that works and where it ends.

python examples/variable_horizon.py [--batch-size 16] [--horizons 48 64 96 128 192 256] [--out variable_horizon.png]

The U-Net is convolutional, so a plan may have any length that its strides divide. The bundled planner was trained on
128 steps; here the two ends are the same and only the time between them changes. With too little of it plans leap or
go through the wall, for the data has no way that is so short; with twice as much they still arrive. Said of each
horizon: plans off the walls, the longest step, and how far steps are from what planned velocities would make of them.
"""

import argparse

import numpy as np
from matplotlib.figure import Figure

import diffuser_fast as dfx
from diffuser_fast.control.tracking import DT
from diffuser_fast.envs import draw_maze, draw_paths, layout_of

START, GOAL = [3.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]  # around the wall, and the longest way there is

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--batch-size", type=int, default=16, help="plans of each horizon")
parser.add_argument("--horizons", type=int, nargs="+", default=[48, 64, 96, 128, 192, 256])
parser.add_argument("--out", default="variable_horizon.png")
options = parser.parse_args()

layout = layout_of("maze2d-umaze")
planner = dfx.Planner(dfx.load("maze2d-umaze"), batch_size=options.batch_size)
trained = planner.horizon
columns = min(3, len(options.horizons))
rows = -(-len(options.horizons) // columns)
figure = Figure(figsize=(3.4 * columns, 3.9 * rows), layout="constrained")
panels = figure.subplots(rows, columns, squeeze=False).ravel()
for axes, horizon in zip(panels, options.horizons):
    plans = planner.plan({0: START, -1: GOAL}, horizon=horizon)
    paths = plans.observations.astype(np.float64)
    steps = np.diff(paths[..., :2], axis=1)
    free = np.array([all(layout.is_free(layout.cell_of(x, y)) for x, y, *_ in path) for path in paths])
    leap = np.linalg.norm(steps, axis=-1).max(axis=1)
    residual = np.linalg.norm(steps - DT * paths[:, 1:, 2:], axis=-1).mean(axis=1)
    said = f"{free.mean():.0%} off the walls, longest step {leap.mean():.3f}, off its velocity {residual.mean():.4f}"
    print(f"horizon {horizon}{' (trained)' if horizon == trained else ''}: {said}; {plans.latency_ms:.0f} ms")
    draw_maze(axes, layout, start=START, target=GOAL)
    draw_paths(axes, paths, alpha=0.15)
    axes.set_title(f"{horizon} steps{' (trained)' if horizon == trained else ''}: {free.mean():.0%} off the walls")
for axes in panels[len(options.horizons) :]:
    axes.set_axis_off()
figure.savefig(options.out, dpi=100)
