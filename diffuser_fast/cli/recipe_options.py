"""One option for every field of a training recipe: what can be said in a recipe.json can be said here."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

import click

from ..train.recipe import Recipe
from .options import Decorator, Listed, adds

NAMES = {"n_timesteps": "diffusion_steps"}  # fields that have another name here
HELP = {
    "target": "planner, or value: the guide.",
    "horizon": "Default: the published one of the data's environment.",
    "n_timesteps": "T. Default: the published one of the data's environment.",
    "steps": "Default: 20000; hopper, walker2d: 40000; values: 15000.",
    "batch_size": "Default: 32; halfcheetah: 128.",
    "lr": "Default: 3e-4 in mazes, 1e-3 in locomotion.",
    "schedule": "How the learning rate falls to 0: linear or cosine.",
    "max_grad_norm": "Clip gradients. Default: 1 in locomotion, else never.",
    "normalizer": "limits or gaussian.",
    "prediction": "x0 or epsilon.",
    "conditions": "What is given in training: first, or first_last observation.",
    "given": "How many of an observation's last numbers are given at every time.",
    "termination_penalty": "Added to the last reward of paths that terminated.",
    "n_step": "Values: returns of so many steps. Default: to the end of the path.",
    "use_padding": "Windows may run over a path's end, into zeros.",
}


def _option(field: Field) -> Decorator:
    kind, name = field.type.removesuffix(" | None"), NAMES.get(field.name, field.name)
    words = f"--{name.replace('_', '-')}"
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    told = HELP.get(field.name, "")
    told = told if "Default" in told else f"{told} Default: {default}.".strip()
    if kind == "bool":
        return click.option(f"{words}/--no-{words[2:]}", name, default=None, help=told)
    if kind.startswith("tuple"):
        return click.option(words, name, type=Listed(int, "whole numbers like 1,4,8"), metavar="N,N", help=told)
    return click.option(words, name, type={"int": int, "float": float, "str": str}[kind], help=told)


recipe_options = adds([_option(field) for field in fields(Recipe)])


def given_fields(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that were given, which are taken out of ``options``."""
    values = {field.name: options.pop(NAMES.get(field.name, field.name)) for field in fields(Recipe)}
    return {name: value for name, value in values.items() if value is not None}
