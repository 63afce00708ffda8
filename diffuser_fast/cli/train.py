"""``diffuser-fast train``: from a data set to a native checkpoint, in a folder that can be gone on from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import show
from .dataset import dataset_options, read_dataset
from .recipe_options import given_fields, recipe_options

if TYPE_CHECKING:
    from ..train.recipe import Recipe


@click.command()
@click.argument("data")
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The run's folder.")
@dataset_options
@click.option("--recipe", type=click.Path(dir_okay=False, exists=True, path_type=Path), help="A recipe.json instead.")
@click.option("--from", "start", metavar="CHECKPOINT", help="Go on from its weights, on the seed after its own.")
@recipe_options
@click.option("--device", help="cuda, cpu; default: a GPU if there is one.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "float32"]),
    default="auto",
    show_default=True,
    help="Of the multiplications.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.")
@click.option("--save-every", type=click.IntRange(min=1), default=1000, show_default=True)
@show.json_option
def command(
    data: str, out: Path, recipe: Path | None, start: str | None, device: str | None, precision: str,
    threads: int | None, save_every: int, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Train on DATA in the folder OUT; the same command again goes on from where it stopped.

    DATA: an HDF5 or NPZ file (D4RL's, or of the same names), robomimic's HDF5, a Minari folder, or a name in Minari's
    store. Ctrl-C pauses: the step is finished and everything is saved. --from: a file or folder that ``plan`` takes,
    or a bundled planner's name; its recipe is the default, its normaliser is kept, --steps count from there.
    """
    import torch

    from ..formats import load
    from ..train.start import next_recipe
    from ..train.state import STATE
    from ..train.trainer import Trainer

    if threads:
        torch.set_num_threads(threads)
    given = given_fields(options)
    episodes = read_dataset(data, **options)
    env = str(episodes.attributes.get("env_id", ""))
    stored = out / "recipe.json"
    recipe = recipe or (stored if (out / STATE).exists() else None)  # of a run that has something to go on from
    begun = None if start is None else load(start)
    base = None if recipe is None else _read_recipe(recipe)
    if base is None and begun is not None:
        base = next_recipe(begun, str(given.get("target", "planner")))
    base = base or _published(env, given)
    trainer = Trainer(
        dataclasses.replace(base, **given), episodes, out, device=device, precision=precision,
        metadata={"env": env, "data": {k: _plain(v) for k, v in episodes.attributes.items()}}, start=begun,
    )  # fmt: skip
    steps = trainer.recipe.steps
    note = ["", ""]
    with show.progress("training", steps, start=trainer.step, quiet=as_json) as update:

        def on_step(step: int, loss: float) -> None:
            note[0] = f"loss {loss:.4f}"
            update(step, note=" ".join(note))

        def on_save(step: int) -> None:
            note[1] = f"saved {step}"

        finished = trainer.run(save_every=save_every, on_step=on_step, on_save=on_save)
    path = out / f"{trainer.recipe.target}.safetensors"
    record = {"checkpoint": str(path), "step": trainer.step, "steps": steps, "finished": finished}
    if as_json:
        show.emit(record)
    else:
        again = "" if finished else "; the same command goes on from here"
        click.echo(f"{path}: {trainer.step:,} of {steps:,} steps{again}")


def _read_recipe(path: Path) -> Recipe:
    from ..train.recipe import Recipe

    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        raise ValueError(f"{path}: not JSON") from None
    try:
        return Recipe.from_json(record)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _published(env: str, given: dict[str, Any]) -> Recipe:
    """The recipe of an environment, or whoever's has said what is not the same for all of them."""
    from ..train.recipe import Recipe, published

    try:
        return published(env, str(given.get("target", "planner")))
    except ValueError as error:
        if {"horizon", "n_timesteps"} <= given.keys():
            return Recipe()
        raise ValueError(f"{error}; or give --horizon and --diffusion-steps, or a --recipe") from None


def _plain(value: object) -> object:
    """As JSON has it; what it has not is text."""
    value = value.tolist() if hasattr(value, "tolist") else value
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value
