"""``diffuser-fast stats``: a data set -> the sidecar of statistics that a checkpoint of the original's lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import show
from .dataset import dataset_options, read_dataset


@click.command()
@click.argument("dataset")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The JSON sidecar.")
@click.option(
    "--normalizer", help="gaussian, limits, ... Default: the original's, gaussian for bodies and limits for mazes."
)
@dataset_options
@show.json_option
def command(dataset: str, out: Path, normalizer: str | None, as_json: bool, **options: Any) -> None:
    """Fit the normalisers of DATASET as the original does, and write them to a JSON sidecar.

    DATASET: an HDF5 or NPZ file (D4RL's, or of the same names), robomimic's HDF5, a Minari folder, or a name in its
    store. The original keeps no statistics with its weights; its own preprocessing of the data makes them again: paths
    are cut as it cuts them, an unfinished tail is dropped, everything is float32. Load them with --normalizer, or leave
    them beside the weights as normalizer_stats.json.
    """
    from ..data import fitted
    from ..formats.sidecar import write_normalizers

    if out.exists() and Path(dataset).exists() and out.samefile(dataset):
        raise click.BadParameter(f"{out}: is the data set itself", param_hint="--out")
    episodes = read_dataset(dataset, **options)
    kind = normalizer or _usual(str(episodes.attributes.get("env_id", "")))
    normalizers = fitted(episodes, kind)
    write_normalizers(normalizers, out)
    record = {
        "path": str(out),
        "normalizer": normalizers.to_json()["normalizer"],
        "paths": len(episodes),
        "steps": len(episodes.observations),
        "observations": normalizers.observations.dim,
        "actions": normalizers.actions.dim,
    }
    if as_json:
        show.emit(record)
        return
    click.echo(
        f"{out}: {record['normalizer']} of {record['observations']} observations and {record['actions']} actions, "
        f"from {record['steps']:,} steps in {record['paths']:,} paths"
    )


def _usual(env: str) -> str:
    """The original's normaliser for an environment; UsageError where it has none."""
    from ..envs import names

    try:
        family = names.parse(env).family
    except ValueError:
        said = f"the data say {env!r}, which it has not" if env else "the data do not say theirs"
        raise click.UsageError(
            f"the original has a normaliser for each of its environments, and {said}: name one with --env, or the "
            "normaliser with --normalizer"
        ) from None
    return "limits" if family in names.MAZE_FAMILIES else "gaussian"
