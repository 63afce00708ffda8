"""Whatever the Python API takes, a command takes too, in the same meaning."""

import dataclasses
import inspect

import pytest

from diffuser_fast import cli
from diffuser_fast.bundle import export
from diffuser_fast.control.collect import collect
from diffuser_fast.control.rollout import rollout
from diffuser_fast.control.shards import sharded
from diffuser_fast.core.guidance import Guide
from diffuser_fast.data import load_dataset
from diffuser_fast.formats import janner, load
from diffuser_fast.planner import Planner
from diffuser_fast.train.recipe import Recipe
from diffuser_fast.train.trainer import Trainer

PLANS = ("plan", "rollout", "export")
LOADS = ("info", "convert", *PLANS)
READS = ("stats", "train")
OTHERS = {  # a parameter of Python -> the option's, where it has another name
    "path": "", "facts": "", "find_value": "", "find_normalizer": "",  # the argument itself; what --value gives up
    "checkpoint": "", "sampler_options": "eta", "planner": "", "progress": "", "self": "", "recipe": "",
    "conditions": "condition", "return_chain": "chain", "warm": "", "shift": "", "replay": "", "prefix": "",  # one call
    "cost": "",  # a formula in Python
    "fields": "field", "env_id": "", "n_timesteps": "diffusion_steps",
    "episodes": "", "folder": "", "compile": "", "metadata": "",
}  # fmt: skip


def parameters(command):
    return {parameter.name for parameter in cli.group.get_command(None, command).params}


@pytest.mark.parametrize(
    ("commands", "function", "others"),
    [
        (LOADS, load, {}),
        (LOADS, janner.load, {"horizon": "trained_horizon"}),
        (PLANS, Planner.__init__, {}),
        (("plan",), Planner.plan, {}),
        (("export",), export, {}),
        (("rollout",), rollout, {"episodes": "episodes"}),
        (("rollout",), sharded, {"episodes": "episodes", "folder": "folder", "options": ""}),
        (READS, load_dataset, {}),
        (("data",), collect, {"n_steps": "steps", "path": "out"}),
        (("train",), Trainer.__init__, {}),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_functions(commands, function, others):
    for command in commands:
        for name in inspect.signature(function).parameters:
            option = {**OTHERS, **others}.get(name, name)
            assert not option or option in parameters(command), (command, name)


@pytest.mark.parametrize(("command", "record"), [("train", Recipe), ("plan", Guide), ("convert", Guide)])
def test_records(command, record):
    renamed = {Recipe: {"n_timesteps": "diffusion_steps"}, Guide: {"n_steps": "guide_steps"}}[record]
    for field in dataclasses.fields(record):
        assert renamed.get(field.name, field.name) in parameters(command), (command, field.name)
