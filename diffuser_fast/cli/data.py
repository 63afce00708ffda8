"""``diffuser-fast data``: the published recipes for data sets, each into one HDF5 file with D4RL's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import show

SIZES = {"umaze": 1_000_000, "medium": 2_000_000, "large": 4_000_000}


@click.command()
@click.argument("env")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: data/ENV.hdf5.")
@click.option("--steps", type=click.IntRange(min=1), help="Default: as many as D4RL's data set of this name has.")
@click.option("--placements", type=click.IntRange(min=1), help="Stacking: pick-and-places. Default: 5000.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--noisy", is_flag=True, help="Mazes: add 0.5 N(0, 1) to the actions.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Bodies, stacking: processes."
)
@show.json_option
def command(
    env: str, out: Path | None, steps: int | None, placements: int | None, seed: int, noisy: bool, workers: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Collect a data set for ENV.

    maze2d-umaze, maze2d-medium, maze2d-large: the waypoint controller. hopper-medium, hopper-medium-replay,
    hopper-medium-expert, hopper-expert, and the same of walker2d and halfcheetah: the bundled behaviour policies, in
    Gymnasium's v5 bodies (their levels are this package's, not D4RL's). stacking: OGBench's scripted oracle, which
    takes cubes from place to place (docs/stacking.md).
    """
    from ..envs.locomotion import is_locomotion

    if env == "stacking":
        if steps or noisy:
            raise click.UsageError("--steps, --noisy: stacking has neither; its data are counted in --placements")
        _stacking(out, placements, seed, workers, as_json)
    elif placements:
        raise click.UsageError("--placements: only stacking has them")
    elif not is_locomotion(env):
        _maze(env, out, steps, seed, noisy, as_json)
    elif noisy:
        raise click.UsageError("--noisy: only mazes have it; the behaviour policies sample their actions")
    else:
        _body(env, out, steps, seed, workers, as_json)


def _maze(env: str, out: Path | None, steps: int | None, seed: int, noisy: bool, as_json: bool) -> None:
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


def _body(env: str, out: Path | None, steps: int | None, seed: int, workers: int, as_json: bool) -> None:
    from ..control.behavior import default_steps, record
    from ..envs import names

    out = out or Path("data") / f"{names.parse(env)}.hdf5"
    with show.progress(f"collecting {env}", steps or default_steps(env), quiet=as_json) as update:
        made: dict[str, Any] = record(
            env, steps, out, seed=seed, workers=workers, progress=lambda done, total: update(done)
        )
    if as_json:
        show.emit({"path": str(out), **{k: _plain(v) for k, v in made.items()}})
        return
    mean = f", mean return {made['mean_return']:.0f}" if "mean_return" in made else ""
    error = f" +- {made['standard_error']:.0f}" if "standard_error" in made else ""
    click.echo(f"{out}: {made['n_steps']:,} steps, {made['episodes']:,} whole episodes{mean}{error}")


def _stacking(out: Path | None, placements: int | None, seed: int, workers: int, as_json: bool) -> None:
    from ..control.pick_and_place import PLACEMENTS, collect_stacking

    out, placements = out or Path("data") / "stacking.hdf5", placements or PLACEMENTS
    with show.progress("collecting stacking", placements, quiet=as_json) as update:
        stream = collect_stacking(
            placements, out, seed=seed, workers=workers, progress=lambda done, total: update(done)
        )
    made = {k: _plain(v) for k, v in stream.attributes.items()}
    if as_json:
        show.emit({"path": str(out), **made})
        return
    click.echo(f"{out}: {placements:,} pick-and-places of {made['attempts']:,} tried, {len(stream):,} states")


def _plain(value: object) -> object:
    return value.tolist() if hasattr(value, "tolist") else value
