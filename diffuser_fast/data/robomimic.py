"""robomimic's HDF5 files: data/demo_<n>/{actions, rewards, dones, obs/<name>}.

An observation there is a choice: every sensor has a name of its own, and which of them are the planner's is for the
caller to say.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .episodic import from_episodes
from .fields import Choice
from .hdf5 import import_h5py, numbers
from .stream import Stream


def is_robomimic(file: Any) -> bool:
    """Whether an open HDF5 file has robomimic's groups."""
    return "data" in file and any(re.fullmatch(r"demo_\d+", name) for name in getattr(file["data"], "keys", list)())


def read_robomimic(file: Any, fields: Choice | None, source: str) -> Stream:
    """An open file -> Stream. fields: which sensors make an observation, {"observations": ["object", ...]}.

    ``dones`` are read as terminals. Errors name the sensors there are.
    """
    h5py = import_h5py()
    demos = sorted((n for n in file["data"] if re.fullmatch(r"demo_\d+", n)), key=lambda name: int(name[5:]))

    def episodes():
        for demo in demos:
            group, arrays = file["data"][demo], {}
            if not isinstance(group, h5py.Group):
                raise ValueError(f"{source}: data/{demo}: found an array, expected a group of them")
            for name, item in group.items():
                if isinstance(item, h5py.Dataset):
                    arrays[name] = item
            for name, item in group["obs"].items() if isinstance(group.get("obs"), h5py.Group) else ():
                if isinstance(item, h5py.Dataset):
                    arrays[name if name not in arrays else f"obs/{name}"] = item
            yield {name: lambda item=item, name=name: numbers(item, source, name) for name, item in arrays.items()}

    given = {"terminals": "dones", **(fields or {})} if "dones" in _names(file["data"][demos[0]]) else fields
    return from_episodes(episodes(), given, _attributes(file), source)


def _names(group: Any) -> list[str]:
    return list(group) if hasattr(group, "keys") else []


def _attributes(file: Any) -> dict[str, Any]:
    try:
        return {"env_id": str(json.loads(file["data"].attrs["env_args"])["env_name"])}
    except (KeyError, ValueError, TypeError):
        return {}
