"""``diffuser-fast rollout``: episodes in an environment, their score and the latency of planning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import show
from .options import check_file, fact, make_planner, planner_options


@click.command()
@click.argument("checkpoint")
@click.option("--env", help="Default: the one the checkpoint was trained for.")
@click.option("--episodes", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--replan", type=click.IntRange(min=1), help="Mazes: plan again every so many steps. Default: plan once.")
@click.option("--together", type=click.IntRange(min=1), help="Mazes: episodes side by side. Default: 25.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes, or jobs.")
@click.option("--cluster", help="slurm: jobs, through submitit; local, debug: the same here.")
@click.option(
    "--cluster-option", "cluster_options", multiple=True, metavar="NAME=VALUE", help="submitit's: timeout_min=60."
)
@click.option("--folder", default="runs/jobs", show_default=True, help="What jobs leave; every job must see it.")
@click.option("--gif", type=click.Path(dir_okay=False, path_type=Path), help="A film of the first episode.")
@planner_options
@show.json_option
def command(
    checkpoint: str, env: str | None, episodes: int, replan: int | None, together: int, workers: int,
    cluster: str | None, cluster_options: tuple[str, ...], folder: str, gif: Path | None, as_json: bool, seed: int,
    **options: Any,
) -> None:  # fmt: skip
    """Run episodes with CHECKPOINT and print the D4RL-normalised score with its standard error.

    Episode e begins from seed + e. In a maze the planned states are followed; a body (hopper, walker2d, halfcheetah)
    plans at every step and takes the best plan's first action. --workers: the episodes are those of one process, to
    the bit; processes share the machine's cores, and so latencies are of a machine at work.
    """
    from ..envs.locomotion import is_locomotion
    from ..settings import usable_cores

    if gif:
        check_file("--gif", gif)
    if workers > 1 and cluster != "slurm" and options["threads"] is None:
        options["threads"] = max(1, len(usable_cores()) // workers)
    planner = make_planner(checkpoint, seed=seed, **options)
    env = env or str(planner.checkpoint.metadata.get("env") or "")
    if not env:
        raise click.UsageError("the checkpoint does not say which environment it is for: name one with --env")
    if is_locomotion(env):
        if replan or together:
            raise click.UsageError("--replan, --together: only mazes have them; a body plans at every step")
        kind: dict[str, Any] = {}
    else:
        kind = {"replan": replan, "together": together or 25}
    jobs = dict(fact(text, "--cluster-option") for text in cluster_options)
    shared = {"workers": workers, "cluster": cluster, "folder": folder, "cluster_options": jobs}
    result = _run(planner, env, shared, as_json, episodes=episodes, seed=seed, **kind)
    if is_locomotion(env):
        _body(planner, checkpoint, result, as_json)
        if gif:
            from .pictures import body_film

            body_film(gif, result)
        return
    _maze(planner, checkpoint, result, as_json)
    if gif:
        from .pictures import rollout_film

        rollout_film(gif, result, 0)


def _maze(planner: Any, checkpoint: str, result: Any, as_json: bool) -> None:
    record = {
        "checkpoint": checkpoint, "backend": planner.backend, "exactness": planner.exactness, **result.summary(),
    }  # fmt: skip
    if as_json:
        show.emit(record)
        return
    error = "" if record["standard_error"] is None else f" +- {record['standard_error']:.1f}"
    click.echo(f"score {record['score']:.1f}{error} over {record['episodes']} episodes; "
               f"{record['reached']:.0%} reached the target")  # fmt: skip
    latency = ", ".join(f"{name} {ms:.1f} ms" for name, ms in record["call_latency_ms"].items())
    click.echo(f"planning calls of {record['plans_per_call']} plans on backend {planner.backend}: {latency}")


def _run(planner: Any, env: str, shared: dict[str, Any], quiet: bool, **options: Any) -> Any:
    """The rollout, with its progress: of steps in this process, of episodes in others."""
    from ..control.locomotion import rollout_body
    from ..control.rollout import rollout
    from ..control.shards import sharded
    from ..envs.locomotion import is_locomotion

    with show.progress(f"{options['episodes']} episodes of {env}", 1, quiet=quiet) as update:

        def progress(done: int, total: int) -> None:
            update(done, total=total)

        if shared["workers"] > 1 or shared["cluster"] or shared["cluster_options"]:
            return sharded(planner, env, progress=progress, **shared, **options)
        return (rollout_body if is_locomotion(env) else rollout)(planner, env, progress=progress, **options)


def _body(planner: Any, checkpoint: str, result: Any, as_json: bool) -> None:
    record = {
        "checkpoint": checkpoint, "backend": planner.backend, "exactness": planner.exactness, **result.summary(),
    }  # fmt: skip
    if as_json:
        show.emit(record)
        return
    score, total = (
        f"{record[name]:.1f}" + ("" if record[error] is None else f" +- {record[error]:.1f}")
        for name, error in (("score", "standard_error"), ("return", "return_standard_error"))
    )
    click.echo(f"return {total}, score {score} (D4RL's scale, v5 body) over {record['episodes']} episodes of "
               f"{record['length']:.0f} steps")  # fmt: skip
    latency = ", ".join(f"{name} {ms:.1f} ms" for name, ms in record["call_latency_ms"].items())
    click.echo(f"{record['plans']} plans, the best of {planner.batch_size}, on backend {planner.backend}: {latency}")
