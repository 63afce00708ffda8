"""Going on from a checkpoint: a run whose first weights are the averaged ones of another.

Adam's moments are not in a checkpoint, so they and the learning rate rise anew. The normaliser is the checkpoint's,
whatever the data: its weights mean nothing in other units. The checkpoint is kept in the run's folder, as
``from.safetensors``, so that the folder says all by itself.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.checkpoint import Checkpoint, Weights
from ..core.schedule import cosine
from ..core.spec import Spec
from ..formats import native
from .recipe import Recipe
from .state import STATE

FILE = "from.safetensors"


def first_checkpoint(start: Checkpoint | None, folder: Path, recipe: Recipe, spec: Spec) -> Checkpoint | None:
    """What the run in ``folder`` begins from, or began from: ``start``, the one kept there, or None.

    ValueError if it cannot be gone on from with this recipe, or if the run there began from something else.
    """
    path = folder / FILE
    if path.exists():
        kept = native.load(path)
        if start is not None and not _same(_network(start, recipe), _network(kept, recipe)):
            raise ValueError(f"start: the run in {folder} began from another checkpoint, {path}")
        return kept
    if start is None:
        return None
    if (folder / STATE).exists():
        raise ValueError(f"start: the run in {folder} began from nothing; another folder for another run")
    _check(start, recipe, spec)
    return start


def keep(start: Checkpoint | None, folder: Path) -> None:
    """Leave it in the folder, once."""
    if start is not None and not (folder / FILE).exists():
        native.save(start, folder / FILE)


def first_weights(start: Checkpoint, recipe: Recipe) -> Weights:
    """Those of the network that the recipe trains. Checked before."""
    weights = _network(start, recipe)
    assert weights is not None
    return weights


def history(start: Checkpoint, target: str) -> dict[str, Any]:
    """How the network of ``target`` came to be, of what the checkpoint's metadata say: step, recipe and before that."""
    said = start.metadata if target == "planner" else start.metadata.get("value") or {}
    return {name: said[name] for name in ("step", "recipe", "from") if name in said}


def next_recipe(start: Checkpoint, target: str) -> Recipe | None:
    """The recipe that the checkpoint was trained by, on the next seed, so that batches are not the same ones again."""
    said = history(start, target).get("recipe")
    if said is None:
        return None
    return Recipe.from_json({**said, "seed": Recipe.from_json(said).seed + 1})


def _network(start: Checkpoint, recipe: Recipe) -> Weights | None:
    return start.unet if recipe.target == "planner" else start.value


def _check(start: Checkpoint, recipe: Recipe, spec: Spec) -> None:
    weights = _network(start, recipe)
    if weights is None:
        raise ValueError("start: the checkpoint has no value network")
    # A U-Net's weights are those of every horizon: short ones first, for they are cheaper, and then the long one.
    horizon = spec.horizon if recipe.target == "planner" else weights.spec.horizon
    if replace(weights.spec, horizon=horizon) != spec:
        raise ValueError(f"start: its network has {_apart(weights.spec, spec)} asked for by the recipe and the data")
    if start.normalizers is None:
        raise ValueError("start: the checkpoint has no normaliser statistics, so its weights are in unknown units")
    if start.schedule.n_steps != recipe.n_timesteps:
        raise ValueError(f"start: it has {start.schedule.n_steps} diffusion steps, the recipe {recipe.n_timesteps}")
    # Files of the original hold theirs in float32.
    if not np.allclose(start.schedule.alphas_cumprod, cosine(recipe.n_timesteps).alphas_cumprod, atol=1e-5):
        raise ValueError("start: its noise schedule is not the cosine one, which is trained with here")
    if recipe.target == "planner" and start.prediction != recipe.prediction:
        raise ValueError(f"start: its network predicts {start.prediction}, the recipe's {recipe.prediction}")


def _apart(one: Spec, other: Spec) -> str:
    """The fields that two networks differ in: "transition_dim 6, not the 8"."""
    if type(one) is not type(other):
        return f"{type(one).__name__}'s fields, not those of the {type(other).__name__}"
    names = [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)]
    return ", ".join(f"{name} {getattr(one, name)}, not the {getattr(other, name)}" for name in names)


def _same(one: Weights | None, other: Weights | None) -> bool:
    return (
        one is not None
        and other is not None
        and one.spec == other.spec
        and all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
    )
