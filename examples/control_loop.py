"""A control loop with your checkpoint: what fits into a budget here, and acting at a fixed rate while planning.

    python examples/control_loop.py [CHECKPOINT] [--dt-ms 20] [--budgets 2 5 10]

There is no robot in it: the observation of a step is the one that the plan in use expects there, so it shows time
alone. ``diffuser-fast doctor --realtime`` says what your machine lacks for it.
"""

import argparse
import time
from collections import Counter

import numpy as np

import diffuser_fast as dfx


def main() -> None:
    """Budgets first, then the loop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", default="maze2d-umaze")
    parser.add_argument("--normalizer", help="statistics, for a checkpoint that has none")
    parser.add_argument("--dt-ms", type=float, default=20.0)
    parser.add_argument("--budgets", type=float, nargs="+", help="milliseconds; default: 10 to 120 %% of a whole plan")
    parser.add_argument("--plans", type=int, default=50, help="for each budget")
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    planner = dfx.Planner(dfx.load(args.checkpoint, normalizer=args.normalizer), batch_size=1, threads=1)
    field = planner.checkpoint.normalizers.observations
    obs = field.unnormalize(np.zeros(field.dim))

    least = planner.calibrate(period_ms=args.dt_ms).least_ms
    whole = float(np.median([planner.plan({0: obs}).latency_ms for _ in range(10)]))
    print(f"a whole plan: {whole:.1f} ms, {planner.loop.rows} denoising steps; the least there is: {least:.1f} ms")
    print("\nbudget ms   late   slowest ms   which")
    for budget in args.budgets or [whole * share for share in (0.1, 0.25, 0.5, 1.0, 1.2)]:
        found = [planner.plan({0: obs}, budget_ms=budget) for _ in range(args.plans)]
        late, slowest = sum(not p.deadline_met for p in found), max(p.latency_ms for p in found)
        kinds = Counter(f"{p.finish}, {len(p.rows)} rows" for p in found)
        told = "; ".join(f"{n} of {kind}" for kind, n in kinds.most_common(3))
        print(f"{budget:9.2f} {late:6d} {slowest:12.2f}   {told}")

    dt, woken, taken = args.dt_ms * 1e-3, [], []
    with dfx.Executor(planner, dt, budget_ms="auto") as executor:
        executor.start(obs)
        due = time.monotonic()
        for _ in range(args.steps):
            due += dt
            time.sleep(max(due - time.monotonic(), 0.0))
            began = time.monotonic()
            step = executor.step(obs)
            taken.append(time.monotonic() - began)
            woken.append(began - due)
            # ... send step.action to the robot, read its sensors; here: what was planned
            obs = obs if step.source == "hold" else executor.expected(step)
        print(f"\ndt {args.dt_ms:g} ms, delay {executor.delay} steps, budget {executor.budget_ms:.1f} ms a plan")
        print(", ".join(f"{what} {n}" for what, n in sorted(executor.counts.items())))
    for what, seconds in (("wakes late", woken), ("a step takes", taken)):
        p50, p99, slowest = np.percentile(np.array(seconds) * 1e6, [50, 99, 100])
        print(f"{what:>14}: p50 {p50:.0f}, p99 {p99:.0f}, slowest {slowest:.0f} microseconds")


if __name__ == "__main__":
    main()
