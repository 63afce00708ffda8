"""``diffuser-fast train``: from a data set to a native checkpoint, in a folder that can be gone on from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from . import show


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The run's folder.")
@click.option("--steps", type=click.IntRange(min=1), help="Default: 20000; hopper, walker2d: 40000; values: 15000.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Default: 32; halfcheetah: 128.")
@click.option("--lr", type=float, help="Default: 3e-4 in mazes, 1e-3 in locomotion.")
@click.option("--schedule", type=click.Choice(["linear", "cosine"]), help="How the learning rate falls to 0.")
@click.option("--max-grad-norm", type=float, help="Clip gradients. Default: 1 in locomotion, else never.")
@click.option("--horizon", type=int, help="Default: the published one of the data's environment.")
@click.option("--diffusion-steps", type=int, help="T. Default: the published one of the data's environment.")
@click.option("--target", type=click.Choice(["planner", "value"]), help="Default planner.")
@click.option("--seed", type=int, help="Default 0.")
@click.option("--recipe", type=click.Path(dir_okay=False, exists=True, path_type=Path), help="A recipe.json instead.")
@click.option("--device", help="cuda, cpu; default: a GPU if there is one.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "float32"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.")
@click.option("--save-every", type=click.IntRange(min=1), default=1000, show_default=True)
@show.json_option
def command(
    data: Path, out: Path, recipe: Path | None, device: str | None, precision: str, threads: int | None,
    save_every: int, as_json: bool, **choices: object,
) -> None:  # fmt: skip
    """Train on DATA (HDF5 or NPZ) in the folder OUT; the same command again goes on from where it stopped.

    Ctrl-C pauses: the step is finished and everything is saved.
    """
    import torch

    from ..data import load_dataset
    from ..train.recipe import Recipe, published
    from ..train.trainer import Trainer

    if threads:
        torch.set_num_threads(threads)
    episodes = load_dataset(data)
    env = str(episodes.attributes.get("env_id", ""))
    names = {"diffusion_steps": "n_timesteps"}
    given = {names.get(k, k): v for k, v in choices.items() if v is not None}
    stored = out / "recipe.json"
    if recipe or stored.exists():
        base = Recipe.from_json(json.loads((recipe or stored).read_text()))
    else:
        base = published(env, str(given.get("target", "planner")))
    trainer = Trainer(
        dataclasses.replace(base, **given), episodes, out, device=device, precision=precision,
        metadata={"env": env, "data": {k: _plain(v) for k, v in episodes.attributes.items()}},
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


def _plain(value: object) -> object:
    return value.tolist() if hasattr(value, "tolist") else value
