"""Behaviour policies as small files: a perceptron that numpy runs, so that making data needs no library for RL.

A file is safetensors with tensors ``<i>.means``, ``<i>.stds``, ``<i>.weight<k>`` and ``<i>.bias<k>`` of policy i, layer
k, and one JSON record in its metadata: how the outputs become actions, and the model card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from ..core.whole_file import write_whole

FORMAT, VERSION = "diffuser-fast-actors", 1
ACTIVATIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}
LOG_STD = (-20.0, 2.0)  # where the log-deviations are clipped, as soft actor-critic does


@dataclass(frozen=True, eq=False)
class Actor:
    """A Gaussian policy: ``[mean, log deviation] = MLP((obs - means) / stds)``, all float32.

    means, stds: ``[O]``. weights: ``[out, in]`` of each layer, the last with 2 A outputs; biases: ``[out]``.
    activation: between layers, "tanh" or "relu". squash: a sample goes through tanh (soft actor-critic) or is clipped
    to [-1, 1] (proximal policy optimisation). ValueError if the sizes do not fit each other.
    """

    means: NDArray[np.float32]
    stds: NDArray[np.float32]
    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    activation: str
    squash: bool

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: found {self.activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        arrays = {"means": self.means, "stds": self.stds}
        arrays |= {f"{kind}{k}": a for kind in ("weight", "bias") for k, a in enumerate(self._layers(kind))}
        for name, array in arrays.items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"{name}: found {array.dtype}, expected float32, all finite")
        width = len(self.means)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if weight.shape != (len(bias), width):
                raise ValueError(f"weight{k}: found shape {list(weight.shape)}, expected {[len(bias), width]}")
            width = len(bias)
        if self.stds.shape != self.means.shape or not (self.stds > 0).all() or width % 2:
            raise ValueError("stds, bias: expected a positive deviation per observation, and two outputs per action")

    @property
    def observation_dim(self) -> int:
        """O."""
        return len(self.means)

    @property
    def action_dim(self) -> int:
        """A."""
        return len(self.biases[-1]) // 2

    def act(self, obs: ArrayLike, noise: ArrayLike) -> NDArray[np.float32]:
        """The action ``[A]`` in [-1, 1] at ``obs [O]``; noise: standard normal ``[A]``, zeros for the mean action."""
        x = (np.asarray(obs, np.float32) - self.means) / self.stds
        activation = ACTIVATIONS[self.activation]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1]):
            x = activation(weight @ x + bias)
        x = self.weights[-1] @ x + self.biases[-1]
        mean, log_std = x[: len(x) // 2], x[len(x) // 2 :]
        action = mean + np.exp(np.minimum(np.maximum(log_std, LOG_STD[0]), LOG_STD[1])) * np.asarray(noise, np.float32)
        return np.tanh(action) if self.squash else np.minimum(np.maximum(action, -1), 1)

    def _layers(self, kind: str) -> tuple[NDArray[np.float32], ...]:
        return self.weights if kind == "weight" else self.biases


def save_actors(path: str | Path, actors: Sequence[Actor], card: Mapping[str, Any]) -> Path:
    """Write policies that share activation and squashing, and their model card (plain JSON values)."""
    path, first = Path(path), actors[0]
    if any((a.activation, a.squash) != (first.activation, first.squash) for a in actors):
        raise ValueError("actors: found different activations or squashing, expected one kind in a file")
    tensors = {}
    for i, actor in enumerate(actors):
        tensors |= {f"{i}.means": actor.means, f"{i}.stds": actor.stds}
        for k, (weight, bias) in enumerate(zip(actor.weights, actor.biases)):
            tensors |= {f"{i}.weight{k}": np.ascontiguousarray(weight), f"{i}.bias{k}": bias}
    record = {
        "format": FORMAT, "version": VERSION, "actors": len(actors), "layers": len(first.weights),
        "activation": first.activation, "squash": first.squash, "card": dict(card),
    }  # fmt: skip
    write_whole(path, safetensors.save(tensors, metadata={FORMAT: json.dumps(record, allow_nan=False)}))
    return path


def load_actors(path: str | Path) -> tuple[list[Actor], dict[str, Any]]:
    """The policies of a file and its model card; ValueError names the file and what is wrong with it."""
    try:
        with safe_open(path, framework="numpy") as file:
            record = json.loads((file.metadata() or {}).get(FORMAT, "null"))
            if not isinstance(record, dict) or record.get("version") != VERSION:
                raise ValueError(f"found no record of version {VERSION}, expected a file of behaviour policies")
            actors = [
                Actor(
                    means=file.get_tensor(f"{i}.means"),
                    stds=file.get_tensor(f"{i}.stds"),
                    weights=tuple(file.get_tensor(f"{i}.weight{k}") for k in range(record["layers"])),
                    biases=tuple(file.get_tensor(f"{i}.bias{k}") for k in range(record["layers"])),
                    activation=record["activation"],
                    squash=record["squash"],
                )
                for i in range(record["actors"])
            ]
            return actors, record["card"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
