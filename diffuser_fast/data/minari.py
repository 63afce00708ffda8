"""Minari data sets, through Minari's own library: by the folder they lie in, or by their name in its store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .episodic import Episode, from_episodes
from .fields import Choice
from .stream import Stream

METADATA = "metadata.json"
NAME = re.compile(r"[-\w]+(/[-\w]+)*-v\d+")  # D4RL/pointmaze/umaze-v2


def minari_folder(path: Path) -> Path | None:
    """The folder with Minari's metadata that a path means: itself, its data/, its main_data.hdf5, or a name in
    Minari's store, where Minari is installed; None if it means none."""
    inside = path.parent if path.name == "main_data.hdf5" else path
    for folder in (inside, inside / "data"):
        if (folder / METADATA).is_file():
            return folder
    if path.exists() or not NAME.fullmatch(path.as_posix()):
        return None
    try:
        from minari.storage.datasets_root_dir import get_dataset_path
    except ImportError:
        return None
    return minari_folder(Path(get_dataset_path(path.as_posix())))


def read_minari(folder: Path, fields: Choice | None, source: str) -> Stream:
    """A data set -> Stream. Where an observation is a dictionary, ``fields`` says which of its parts are the planner's,
    {"observations": ["observations/observation", ...]}.

    Raises ImportError without minari, ValueError for a damaged data set or one that would make an environment to be
    read: whose metadata lacks its spaces.
    """
    try:
        import minari
    except ImportError as error:
        raise ImportError(f"{source}: a Minari data set; pip install diffuser-fast[minari] reads it") from error
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{source}: its {METADATA} is not JSON") from None
    if not isinstance(metadata, dict) or not all(
        isinstance(metadata.get(name), str) for name in ("observation_space", "action_space")
    ):
        # Minari would then import and make whatever environment the file names.
        raise ValueError(f"{source}: its {METADATA} lacks observation_space or action_space; Minari 0.5 writes both")
    try:
        dataset = minari.MinariDataset(folder)
        return from_episodes(_episodes(dataset), fields, _attributes(dataset), source)
    except (OSError, KeyError, AssertionError, RuntimeError) as error:
        raise ValueError(f"{source}: found a damaged Minari data set ({error}), expected a readable one") from None


def _episodes(dataset: Any) -> Iterator[Episode]:
    for episode in dataset.iterate_episodes():
        arrays: dict[str, np.ndarray] = {}
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            _flatten(name, getattr(episode, name), arrays)
        yield {name: lambda array=array: array for name, array in arrays.items()}


def _flatten(name: str, value: Any, into: dict[str, np.ndarray]) -> None:
    """Arrays of a nested observation by path: observations/achieved_goal."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, tuple):
        parts = enumerate(value)
    else:
        into[name] = np.asarray(value)
        return
    for key, part in parts:
        _flatten(f"{name}/{key}", part, into)


def _attributes(dataset: Any) -> dict[str, Any]:
    spec = dataset.env_spec
    return {"dataset_id": str(dataset.spec.dataset_id), **({"env_id": str(spec.id)} if spec is not None else {})}
