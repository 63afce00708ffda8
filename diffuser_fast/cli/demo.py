"""``diffuser-fast demo``: the bundled planner in its maze, on the fastest backend here, to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import show
from .demo_body import STEPS, bundled, demo

NAME = "maze2d-umaze"


@click.command()
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"), show_default=True)
@click.option("--env", help="maze2d-umaze, or a body: hopper, walker2d, halfcheetah. Default: the checkpoint's.")
@click.option("--checkpoint", help=f"A bundled name or a path. Default: the environment's, or {NAME}.")
@click.option("--episodes", type=click.IntRange(min=1), default=20, show_default=True, help="Of a maze.")
@click.option("--steps", type=click.IntRange(min=1, max=1000), default=STEPS, show_default=True, help="Of a body.")
@click.option("--backend", default="auto", show_default=True)
@click.option("--threads", type=int, help="Default: the cores there are.")
@click.option("--seed", type=int, default=7, show_default=True)
@show.json_option
def command(
    out: Path, env: str | None, checkpoint: str | None, episodes: int, steps: int, backend: str, threads: int | None,
    seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Plan through a MuJoCo maze, score episodes, time the engine against torch eager, and leave a PNG and a GIF.

    With --env hopper: plan at every step of a hopping body, and leave a GIF of the body and its plans.
    """
    import numpy as np

    from .. import Planner, load
    from ..control.rollout import goal_conditions, rollout
    from ..envs import names
    from ..envs.locomotion import is_locomotion
    from .latency import engine_vs_eager
    from .pictures import denoising_picture, rollout_film

    if env is not None and is_locomotion(env):
        checkpoint = checkpoint or bundled(names.parse(env).family)
    checkpoint = checkpoint or NAME
    loaded = load(checkpoint)
    env = env or str(loaded.metadata.get("env") or "")
    if not env:
        raise click.UsageError("--checkpoint: it does not say which environment it is for; give --env")
    if is_locomotion(env):
        demo(checkpoint, env, out, backend=backend, threads=threads, seed=seed, steps=steps, as_json=as_json)
        return
    planner = Planner(loaded, backend, threads=threads, seed=seed)
    with show.progress(f"{episodes} episodes of {env}", 1, quiet=as_json) as update:
        result = rollout(
            planner, env, episodes=episodes, seed=seed, progress=lambda done, total: update(done, total=total)
        )
    # The film and the picture show the episode that began furthest from its target.
    far = int(np.linalg.norm(result.observations[:, 0, :2] - result.targets, axis=1).argmax())
    start, target = result.observations[far : far + 1, 0], result.targets[far : far + 1]
    single = {t: value[0] for t, value in goal_conditions(start, target).items()}
    planner.reset(seed)
    plans = planner.plan(single, return_chain=True)
    png = denoising_picture(out / "denoising.png", env, plans.chain[0], target[0], planner.checkpoint.action_dim)
    gif = rollout_film(out / "rollout.gif", result, far)
    rows = engine_vs_eager(planner, single, seconds=4.0)
    record: dict[str, Any] = {
        **result.summary(), "backend": planner.backend, "latency": rows, "pictures": [str(png), str(gif)],
    }  # fmt: skip
    if as_json:
        show.emit(record)
        return
    error = "" if record["standard_error"] is None else f" +- {record['standard_error']:.1f}"
    click.echo(
        f"{env}: score {record['score']:.1f}{error} over {episodes} episodes, "
        f"{record['reached']:.0%} reached the target (100 is D4RL's reference controller)"
    )
    show.table(
        f"one plan: {planner.horizon} steps ahead, {planner.checkpoint.schedule.n_steps} denoising steps",
        ["", "p50", "p90", "plans"],
        [[r["name"], f"{r['p50_ms']:.1f} ms", f"{r['p90_ms']:.1f} ms", str(r["count"])] for r in rows],
    )
    if len(rows) > 1:
        click.echo(f"{rows[-1]['p50_ms'] / rows[0]['p50_ms']:.1f} times faster than torch eager, measured just now")
    click.echo(f"look at {png} and {gif}")
