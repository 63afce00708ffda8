"""``diffuser-fast certify``: how exactly each engine here plans with a checkpoint, and whether it keeps its class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import show
from .options import check_file, guide_options, load_checkpoint, load_options, with_guide


@click.command()
@click.argument("checkpoint")
@click.option("--plans", type=click.IntRange(min=1), default=4, show_default=True, help="Planned side by side.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of noise and conditions.")
@click.option("--backend", multiple=True, help="Only this one; may be given several times. Default: all that run here.")
@click.option("--env", help="Also run episodes of this environment, on backend auto.")
@click.option("--episodes", type=click.IntRange(min=1), default=20, show_default=True, help="How many of them.")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="The JSON record, to a file too.")
@load_options
@guide_options
@show.json_option
def command(
    checkpoint: str, plans: int, seed: int, backend: tuple[str, ...], env: str | None, episodes: int, out: Path | None,
    as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Plan with CHECKPOINT on every backend and precision here, from one noise, beside float64.

    Prints deviations in physical units, agreement of the first action and of the ranking, and the class that each
    earns. Exits with 1 where a class that is claimed is missed.
    """
    import json

    from .. import backends
    from ..conformance.certify import certificate
    from ..core.whole_file import write_whole

    for name in backend:
        backends.get(name)  # an unknown one, or one that is not installed, is an error before hours of work
    if out:
        check_file("--out", out)
    loaded = with_guide(load_checkpoint(checkpoint, options), options)
    # First, for it is what may be refused: an environment that there is not, or of another body.
    closed_loop = {"closed_loop": _closed_loop(loaded, env, episodes, seed)} if env else {}
    record = {
        "checkpoint": checkpoint, "format": loaded.metadata.get("format", "native"),
        **certificate(loaded, plans=plans, seed=seed, names=backend or None), **closed_loop,
    }  # fmt: skip
    if out:
        write_whole(out, (json.dumps(record, indent=1) + "\n").encode())
    if as_json:
        show.emit(record)
    else:
        _print(record)
    if not record["targets"]:
        raise RuntimeError("no backend that was asked for can plan with it here")
    missed = [row for row in record["targets"] if row["earned"] != row["claimed"]]
    if missed:
        row = missed[0]
        raise RuntimeError(
            f"{len(missed)} of {len(record['targets'])} missed the class they claim, the first: {row['backend']} "
            f"{row['precision']} claims {row['claimed']} and earns {row['earned']}"
        )


def _closed_loop(checkpoint: Any, env: str, episodes: int, seed: int) -> dict[str, Any]:
    from ..control.locomotion import rollout_body
    from ..control.rollout import rollout
    from ..envs.locomotion import is_locomotion
    from ..planner import Planner

    planner = Planner(checkpoint, seed=seed)
    run = rollout_body if is_locomotion(env) else rollout
    return {"env": env, "episodes": episodes, **run(planner, env, episodes=episodes, seed=seed).summary()}


def _print(record: dict[str, Any]) -> None:
    rows = []
    for row in record["targets"]:
        name = " ".join(str(row[part]) for part in ("backend", "isa", "precision") if row[part])
        rows.append(
            [name, row["claimed"], row["earned"], f"{max(row['of_what_is_allowed'].values()):.2f}",
             f"{max(row['plan'].values()):.1e}", f"{row['first_action']:.1e}", f"{row['rank_agreement']:.0%}"]
        )  # fmt: skip
    units = f"largest deviations in {record['units']} units"
    columns = ["target", "claims", "earns", "of bound", "plan", "action", "ranks"]
    show.table(f"{record['checkpoint']} beside float64, {units}", columns, rows)
    if "closed_loop" in record:
        click.echo(f"closed loop in {record['closed_loop']['env']}: score {record['closed_loop']['score']:.1f}")
