"""What a body's return costs in time: plans that begin from the last one and run fewer denoising steps.

python examples/warm_start.py [--episodes 8] [--budgets 1 2 5 10] [--out warm_start.png]

A body plans at every step, and the next plan is much like the last. With ``warm_start=k`` the last plan, moved on by a
step, is noised as far as the k-th denoising step from the end, and only those k are run (section 5.4 of the paper). The
last point of the picture is all denoising steps from noise. Every budget has the same starts.
"""

import argparse

import numpy as np
from matplotlib.figure import Figure

import diffuser_fast as dfx
from diffuser_fast.control.locomotion import rollout_body

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--episodes", type=int, default=8, help="of each budget, from the same starts")
parser.add_argument("--steps", type=int, default=1000, help="of an episode at most")
parser.add_argument("--budgets", type=int, nargs="+", default=[1, 2, 5, 10], help="denoising steps of a warm start")
parser.add_argument("--batch-size", type=int, default=16, help="candidate plans")
parser.add_argument("--seed", type=int, default=10_000, help="of the first start")
parser.add_argument("--out", default="warm_start.png")
options = parser.parse_args()

checkpoint = dfx.load("hopper-medium")
means, errors, times = [], [], []
for budget in (*options.budgets, None):
    planner = dfx.Planner(checkpoint, batch_size=options.batch_size, precision="int8", warm_start=budget)
    run = rollout_body(planner, "hopper-medium", episodes=options.episodes, seed=options.seed, max_steps=options.steps)
    means.append(run.returns.mean())
    errors.append(run.returns.std(ddof=1) / len(run.returns) ** 0.5 if len(run.returns) > 1 else 0)
    times.append(float(np.median(run.latency_ms)))
    name = "from noise" if budget is None else f"last {budget}"
    print(f"{name}: return {means[-1]:.0f} ± {errors[-1]:.0f}, {times[-1]:.1f} ms a plan")

figure = Figure(figsize=(5.6, 3.8), layout="constrained")
axes = figure.subplots()
axes.errorbar(times, means, yerr=errors, marker="o", capsize=3, linewidth=1)
for time, mean, budget in zip(times, means, (*options.budgets, "from noise")):
    axes.annotate(str(budget), (time, mean), textcoords="offset points", xytext=(6, 6))
axes.set(xlabel="ms of a plan, median", ylabel="return", title="hopper-medium: denoising steps of a warm start")
axes.set_ylim(bottom=0)
axes.grid(alpha=0.3)
figure.savefig(options.out, dpi=120)
