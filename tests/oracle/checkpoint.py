"""A training folder as the original writes it -> the oracle's objects.

state_{step}.pt         {'step', 'model', 'ema'}; plans use the exponential moving average
model_config.pkl, ...   a pickled configuration record, read without importing anything it names
normalizer_stats.json   the statistics, which the original keeps nowhere
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .diffusion import GaussianDiffusion, Maze2dGaussianDiffusion, ValueDiffusion
from .networks import Maze2dTemporalUnet, TemporalUnet, TemporalValue, ValueFunction
from .normalizers import DatasetNormalizer, GaussianNormalizer, LimitsNormalizer, Normalizer


@dataclass
class Config:
    """A configuration record: the name of the class it would have built, and its keyword arguments."""

    class_name: str
    arguments: dict = field(default_factory=dict)


class _Record:
    """Stands in for the pickled record itself; unpickling fills its __dict__ and runs nothing."""


@dataclass(frozen=True)
class _Name:
    """Stands in for a class the record refers to. It cannot be called."""

    name: str


class _InertUnpickler(pickle.Unpickler):
    """Knows one class, the record; every other global becomes a name."""

    def find_class(self, module: str, name: str) -> object:
        return _Record if (module, name) == ("diffuser.utils.config", "Config") else _Name(f"{module}.{name}")


def read_config(path: Path) -> Config:
    """The configuration record in a `*_config.pkl`."""
    with open(path, "rb") as file:
        record = _InertUnpickler(file).load()
    return Config(record._class.name.rpartition(".")[2], dict(record._dict))


def read_ema(folder: Path) -> dict[str, Tensor]:
    """The averaged weights in the highest-numbered `state_*.pt`."""
    path = max(folder.glob("state_*.pt"), key=lambda p: int(p.stem.partition("_")[2]))
    return torch.load(path, weights_only=True, map_location="cpu")["ema"]


def build_network(config: Config, state: dict[str, Tensor]) -> nn.Module:
    """An uninitialised network of the layout whose keys `state` has.

    Both layouts use one class name for the U-Net, so the keys decide: without an attention slot, the first
    level's downsample is entry 2.
    """
    if config.class_name == "TemporalUnet":
        maze2d = "model.downs.0.2.conv.weight" in state
        return (Maze2dTemporalUnet if maze2d else TemporalUnet)(**config.arguments)
    kinds = {"ValueFunction": ValueFunction, "TemporalValue": TemporalValue}
    return kinds[config.class_name](**config.arguments)


def load_diffusion(folder: Path, dtype: torch.dtype = torch.float32) -> GaussianDiffusion:
    """The diffusion in `folder`, of whichever layout it is, in `dtype`. Every key must be used (strict).

    The schedule is the checkpoint's own, cast; not recomputed.
    """
    folder = Path(folder)
    state = read_ema(folder)
    network = build_network(read_config(folder / "model_config.pkl"), state)
    config = read_config(folder / "diffusion_config.pkl")
    if config.class_name == "ValueDiffusion":
        kind = ValueDiffusion
    elif isinstance(network, Maze2dTemporalUnet):
        kind = Maze2dGaussianDiffusion
    else:
        kind = GaussianDiffusion
    diffusion = kind(network, **config.arguments)
    diffusion.load_state_dict(state, strict=True)
    return diffusion.to(dtype).eval().requires_grad_(False)


def load_normalizer(folder: Path, dtype: type = np.float32) -> DatasetNormalizer:
    """The statistics in `folder`/normalizer_stats.json."""
    record = json.loads((Path(folder) / "normalizer_stats.json").read_text())
    kind: type[Normalizer] = {"GaussianNormalizer": GaussianNormalizer, "LimitsNormalizer": LimitsNormalizer}[
        record["normalizer"]
    ]
    return DatasetNormalizer(
        {
            key: kind(**{name: np.asarray(numbers, dtype) for name, numbers in statistics.items()})
            for key, statistics in record["fields"].items()
        }
    )
