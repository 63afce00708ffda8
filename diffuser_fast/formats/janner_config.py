"""The original's configuration files, read as inert records, and what the published runs did that no file says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.guidance import Guide
from .inert import Array
from .unpickle import Name, Record, read_pickle

FILES = (
    "model",
    "diffusion",
    "dataset",
)  # of <name>_config.pkl; there are others, which planning does not need

# How the published plans were guided, by the start of the environment's name; all others by the first line.
_GUIDES = {
    "": Guide(scale=0.1, n_steps=2, t_stopgrad=2),
    "hopper-medium-expert-": Guide(scale=0.0001, n_steps=2, t_stopgrad=4),
    "halfcheetah-": Guide(scale=0.001, n_steps=2, t_stopgrad=4),
}


@dataclass(frozen=True)
class Config:
    """One configuration: its file's name, the class it would have built ("": no file), and its keyword arguments.

    Arguments are plain and bounded (see ``plain``): they may be compared, printed and written.
    """

    file: str
    class_name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or ``default`` where the file or the argument is missing."""
        return self.arguments.get(name, default)

    def __bool__(self) -> bool:
        return bool(self.class_name)


def read_configs(folder: Path) -> dict[str, Config]:
    """The configurations in a folder by name ("model", "diffusion", "dataset"); missing files give empty ones."""
    return {name: _read(folder / f"{name}_config.pkl") for name in FILES}


def _read(path: Path) -> Config:
    if not path.is_file():
        return Config(path.name)
    record = read_pickle(path)
    state = record.state if isinstance(record, Record) else {}
    kind, arguments = state.get("_class"), state.get("_dict")
    if not isinstance(kind, Name) or not isinstance(arguments, dict):
        raise ValueError(f"{path}: a pickle, but not of a configuration (a record with _class and _dict)")
    plain_arguments = {key: plain(value) for key, value in arguments.items() if isinstance(key, str)}
    return Config(path.name, kind.name, plain_arguments)


def guide_of(env: object) -> Guide:
    """The guidance the published results of an environment used (the original's config/locomotion.py)."""
    name = env if isinstance(env, str) else ""
    return _GUIDES[max((start for start in _GUIDES if name.startswith(start)), key=len)]


def plain(value: Any, depth: int = 2) -> Any:
    """A value as JSON can hold it, tuples as lists; what is too large, too deep or no data becomes ``<its type>``.

    The bounds matter: references may be shared, so that a small file can describe an enormous value.
    """
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, str) and len(value) <= 1000:
        return value
    if isinstance(value, slice):
        return str(value)
    if isinstance(value, Array) and value.array.size <= 64:
        return plain(value.array.tolist(), depth)
    if isinstance(value, (list, tuple)) and depth and len(value) <= 64:
        return [plain(item, depth - 1) for item in value]
    if isinstance(value, dict) and depth and len(value) <= 64:
        return {key: plain(item, depth - 1) for key, item in value.items() if isinstance(key, str) and len(key) <= 1000}
    return f"<{value if isinstance(value, Name) else type(value).__name__}>"
