"""Data sets that keep episodes apart, as one stream: Minari's and robomimic's.

An episode's last step is marked: as terminal where the file says that the task ended there, else as a timeout. An
observation after the last action, which Minari keeps, is left out, as D4RL leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ..core.scalars import shown
from .fields import REQUIRED, Choice, choose, gathered
from .stream import Stream, from_arrays

Episode = Mapping[str, Callable[[], np.ndarray]]  # name in the file -> what reads it


def from_episodes(episodes: Iterable[Episode], fields: Choice | None, attributes: Mapping, source: str) -> Stream:
    """Episodes -> Stream. Errors as of ``from_arrays``, naming ``source`` and the episode."""
    parts: dict[str, list[np.ndarray]] = {}
    chosen = None
    for number, episode in enumerate(episodes):
        where = f"{source}: episode {number}"
        chosen = choose(episode, fields, where) if chosen is None else chosen
        for name in (name for names in chosen.values() for name in names if name not in episode):
            raise ValueError(f"{where}: no field {name!r}, which episode 0 has")
        arrays = gathered(lambda name: episode[name](), chosen, where)  # noqa: B023 (it is called here and now)
        steps = len(arrays["actions"])
        if not steps:
            continue
        if len(arrays["observations"]) == steps + 1:
            arrays["observations"] = arrays["observations"][:-1]
        for name, array in arrays.items():
            if len(array) != steps:
                raise ValueError(f"{where}: {name}: found {len(array)} steps, expected {steps}, as in actions")
            first = parts[name][0] if name in parts else array
            if name in REQUIRED and array.shape[1:] != first.shape[1:]:
                raise ValueError(
                    f"{where}: {name}: found rows of shape {list(array.shape[1:])}, expected {list(first.shape[1:])}, "
                    "as in the first episode"
                )
        terminals = np.asarray(arrays.get("terminals", np.zeros(steps)))
        if terminals.size != steps or not np.isin(terminals, (0, 1)).all():
            raise ValueError(f"{where}: terminals: found {shown(terminals)}, expected one true or false for each step")
        arrays["terminals"] = terminals = terminals.reshape(-1).astype(bool)
        arrays["timeouts"] = (np.arange(steps) == steps - 1) & ~terminals
        for name, array in arrays.items():
            parts.setdefault(name, []).append(array)
    if not parts:
        raise ValueError(f"{source}: found no episode with a step, expected at least one")
    return from_arrays({name: np.concatenate(arrays) for name, arrays in parts.items()}, attributes, source)
