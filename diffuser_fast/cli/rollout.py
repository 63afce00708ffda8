"""``diffuser-fast rollout``: episodes in an environment, their score and the latency of planning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import show
from .options import make_planner, planner_options


@click.command()
@click.argument("checkpoint")
@click.option("--env", help="Default: the one the checkpoint was trained for.")
@click.option("--episodes", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--replan", type=click.IntRange(min=1), help="Plan again every so many steps. Default: plan once.")
@click.option("--together", type=click.IntRange(min=1), default=25, show_default=True, help="Episodes side by side.")
@click.option("--gif", type=click.Path(dir_okay=False, path_type=Path), help="A film of the first episode.")
@planner_options
@show.json_option
def command(
    checkpoint: str, env: str | None, episodes: int, replan: int | None, together: int, gif: Path | None,
    as_json: bool, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Run episodes with CHECKPOINT and print the D4RL-normalised score with its standard error."""
    from ..control.rollout import rollout

    planner = make_planner(checkpoint, seed=seed, **options)
    env = env or str(planner.checkpoint.metadata.get("env") or "")
    if not env:
        raise click.UsageError("the checkpoint does not say which environment it is for: name one with --env")
    with show.progress(f"{episodes} episodes of {env}", 1, quiet=as_json) as update:

        def progress(done: int, total: int) -> None:
            update(done, total=total)

        result = rollout(
            planner, env, episodes=episodes, replan=replan, seed=seed, together=together, progress=progress
        )
    if gif:
        from .pictures import rollout_film

        rollout_film(gif, result, 0)
    record = {
        "checkpoint": checkpoint,
        "backend": planner.backend,
        "exactness": planner.exactness,
        **result.summary(),
    }
    if as_json:
        show.emit(record)
        return
    error = "" if record["standard_error"] is None else f" +- {record['standard_error']:.1f}"
    click.echo(
        f"score {record['score']:.1f}{error} over {episodes} episodes; {record['reached']:.0%} reached the target"
    )
    latency = ", ".join(f"{name} {ms:.1f} ms" for name, ms in record["call_latency_ms"].items())
    click.echo(f"planning calls of {record['plans_per_call']} plans on backend {planner.backend}: {latency}")
