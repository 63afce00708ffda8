"""``diffuser-fast data``: the published recipe for Maze2D data, into one HDF5 file with D4RL's fields."""

from __future__ import annotations

from pathlib import Path

import click

from . import show

SIZES = {"umaze": 1_000_000, "medium": 2_000_000, "large": 4_000_000}


@click.command()
@click.argument("env")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: data/ENV.hdf5.")
@click.option("--steps", type=click.IntRange(min=1), help="Default: D4RL's 1, 2 or 4 million by layout.")
@click.option("--seed", default=0, show_default=True)
@click.option("--noisy", is_flag=True, help="Add 0.5 N(0, 1) to the actions.")
@show.json_option
def command(env: str, out: Path | None, steps: int | None, seed: int, noisy: bool, as_json: bool) -> None:
    """Collect a data set in ENV (maze2d-umaze, maze2d-medium, maze2d-large) with the waypoint controller."""
    from ..control.collect import collect
    from ..envs import layout_of

    layout = layout_of(env).name
    steps = steps or SIZES[layout]
    out = out or Path("data") / f"maze2d-{layout}.hdf5"
    with show.progress(f"collecting {env}", steps, quiet=as_json) as update:
        stream = collect(env, steps, seed=seed, path=out, noisy=noisy, progress=lambda done, total: update(done))
    record = {"path": str(out), **{k: _plain(v) for k, v in stream.attributes.items()}}
    if as_json:
        show.emit(record)
    else:
        click.echo(f"{out}: {steps:,} steps, {record.get('successes', 0):,} goals reached")


def _plain(value: object) -> object:
    return value.tolist() if hasattr(value, "tolist") else value
