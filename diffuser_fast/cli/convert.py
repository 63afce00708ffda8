"""``diffuser-fast convert``: any known checkpoint -> the native format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import show
from .options import guide_options, load_checkpoint, load_options, with_guide


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True)
@load_options
@guide_options
@show.json_option
def command(source: str, target: Path, dtype: str, as_json: bool, **options: Any) -> None:
    """Write SOURCE (any format ``load`` knows) to TARGET, a native file: one safetensors with everything in it."""
    from ..formats import native

    checkpoint = with_guide(load_checkpoint(source, options), options)
    native.save(checkpoint, target, dtype=dtype)
    record = {"path": str(target), "bytes": target.stat().st_size, "dtype": dtype}
    if as_json:
        show.emit(record)
        return
    click.echo(f"{target}: {record['bytes']:,} bytes, {dtype}")
    if checkpoint.normalizers is None:
        click.echo("it has no normaliser statistics, so it cannot plan yet; --normalizer adds them", err=True)
