"""The U-Maze with planning that takes d control steps: what the delay costs, in simulated time.

    python examples/plan_while_acting.py --episodes 16 --delays 1 4 12 24

Each episode runs in a ``Stepped``: a plan that is begun at step r is used from step r + d on, and the states up to
there are frozen in it. Delay 0 stands for plans that take no time. The same logic by a thread, in real time, is
``Executor``; it gives the same actions as long as its plans are in time.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

import diffuser_fast as dfx
from diffuser_fast.control.rollout import goal_conditions, horizon_left, rollout
from diffuser_fast.control.tracking import inverse_dynamics_action
from diffuser_fast.envs import make, normalized_score


def follow(obs: np.ndarray, plan: np.ndarray, row: int) -> np.ndarray:
    """The force ``[2]`` towards the next planned state."""
    return inverse_dynamics_action(obs[None], plan[None], row)[0]


def episode(planner: dfx.Planner, env: str, seed: int, **options: object) -> tuple[float, list[float]]:
    """One episode -> its score, and the seams of its plans."""
    maze = make(env)
    obs = maze.reset(seed=seed)[0]
    goal = goal_conditions(obs[None], maze.target[None])[-1][0]
    acting = dfx.Stepped(
        planner, 0.01, conditions={-1: goal}, horizon=lambda i: horizon_left(planner, i), follow=follow, **options
    )
    acting.start(obs)
    total, seams = 0.0, []
    for _ in range(maze.max_episode_steps):
        step = acting.step(obs)
        obs, reward, *_ = maze.step(step.action)
        total += reward
        if step.seam is not None:
            seams.append(step.seam)
    return normalized_score(env, total), seams


def main() -> None:
    """Print a line for each delay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", default="maze2d-umaze")
    parser.add_argument("--env", default="multi2d-umaze")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--delays", type=int, nargs="+", default=[1, 4, 12, 24])
    parser.add_argument("--rows", type=int, default=8, help="denoising steps of a plan (DDIM)")
    parser.add_argument("--warm", type=int, help="denoising steps of a plan that starts from the last one")
    parser.add_argument("--freeze", default="auto", choices=["auto", "states", "none"])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    args = parser.parse_args()
    planner = dfx.Planner(
        dfx.load(args.checkpoint), batch_size=1, sampler="ddim", n_steps=args.rows, warm_start=args.warm, threads=1
    )
    if not args.json:
        print(f"{'delay':>8}{'score':>8}{'error':>8}{'seam':>8}   (seam: the median, in normalised units)")
    n, rows = args.episodes, []

    def tell(delay: int, scores: np.ndarray, seam: float | None) -> None:
        mean, error = float(scores.mean()), float(scores.std(ddof=1)) / n**0.5
        rows.append({"delay": delay, "score": mean, "error": error, "seam": seam})
        if not args.json:
            print(f"{delay:>8}{mean:>8.1f}{error:>8.1f}{'-' if seam is None else f'{seam:.3f}':>8}", flush=True)

    at_once = rollout(planner, args.env, episodes=n, replan=args.delays[min(1, len(args.delays) - 1)]).scores
    tell(0, at_once, None)
    for delay in args.delays:
        options = {"delay": delay, "freeze": args.freeze, "warm": args.warm is not None}
        found = [episode(planner, args.env, seed, **options) for seed in range(n)]
        seams = np.concatenate([seams for _, seams in found])
        tell(delay, np.array([score for score, _ in found]), float(np.median(seams)) if len(seams) else None)
    if args.json:
        print(json.dumps({"checkpoint": args.checkpoint, "env": args.env, "rows": rows}))


if __name__ == "__main__":
    main()
