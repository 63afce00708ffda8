"""``diffuser-fast export``: a planner as one file, for C and C++ (docs/c_api.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import show
from .options import Listed, make_planner, planner_options

NUMBERS = Listed(int, "whole numbers like 1,4")


@click.command()
@click.argument("checkpoint")
@click.option(
    "-o",
    "--out",
    "path",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The bundle, such as planner.dfb.",
)
@click.option("--horizons", type=NUMBERS, default=(), metavar="H,H", help="Horizons it offers beside --horizon.")
@click.option(
    "--batch-sizes",
    type=NUMBERS,
    default=(),
    metavar="B,B",
    help="Under float32-close: numbers of plans it offers beside --batch-size. Others offer any.",
)
@planner_options
@show.json_option
def command(
    checkpoint: str, path: Path, horizons: tuple[int, ...], batch_sizes: tuple[int, ...], as_json: bool, **options: Any
) -> None:  # fmt: skip
    """Write CHECKPOINT, made ready to plan, to one file that the C library opens: no Python, the same bits."""
    from ..bundle import export

    planner = make_planner(checkpoint, **options)
    export(planner, path, horizons=horizons, batch_sizes=batch_sizes)
    record = {
        "path": str(path), "bytes": path.stat().st_size, "horizon": planner.horizon, "batch": planner.batch_size,
        "rows": planner.loop.rows, "precision": planner.precision, "exactness": planner.exactness,
    }  # fmt: skip
    if as_json:
        show.emit(record)
        return
    click.echo(f"{path}: {record['bytes']:,} bytes, horizon {record['horizon']}, {record['batch']} plans, "
               f"{record['rows']} denoising steps, {record['precision']} ({record['exactness']})")  # fmt: skip
