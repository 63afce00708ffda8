"""``diffuser-fast info``: what a checkpoint holds, in what it differs from Diffuser, and what it lacks to plan."""

from __future__ import annotations

from typing import Any

import click

from . import show
from .options import load_checkpoint, load_options


@click.command()
@click.argument("checkpoint")
@click.option("--layers", is_flag=True, help="Every layer: its result's shape, parameters, floating-point operations.")
@load_options
@show.json_option
def command(checkpoint: str, layers: bool, as_json: bool, **options: Any) -> None:
    """Describe CHECKPOINT: of any format that `load` knows, or a bundled name."""
    from .describe import describe
    from .describe import layers as layers_of

    loaded = load_checkpoint(checkpoint, options)
    record = describe(loaded)
    networks = {"unet": loaded.unet, "value": loaded.value, "inverse": loaded.inverse}
    tables = {name: layers_of(weights) for name, weights in networks.items() if layers and weights is not None}
    if as_json:
        show.emit(record | ({"layers": tables} if layers else {}))
        return
    show.table(checkpoint, ["", ""], [[name, _words(item)] for name, item in record.items()])
    for name, rows in tables.items():
        rows = [[r["layer"], r["shape"], f"{r['parameters']:,}", f"{r['flop']:,}"] for r in rows]
        show.table(name, ["layer", "shape", "parameters", "FLOP"], rows)


def _words(item: Any) -> str:
    if isinstance(item, dict):
        return "\n".join(f"{name}: {value}" for name, value in item.items())
    if isinstance(item, list):
        return "\n".join(item) or "none"
    return "none" if item is None else str(item)
