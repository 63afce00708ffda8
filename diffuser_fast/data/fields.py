"""Which arrays of a file are observations, actions, rewards and ends: D4RL's names, Gymnasium's, or those given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ..core.scalars import shown
from ..core.spelling import named, setting

FIELDS = ("observations", "actions", "rewards", "terminals", "timeouts")
FLAGS = ("terminals", "timeouts")
REQUIRED = ("observations", "actions")
# Other names that mean the same to everybody: Gymnasium's, and so Minari's.
SYNONYMS = {"terminals": ("terminations",), "timeouts": ("truncations",)}
LISTED = 12  # names of a file that an error lists

Choice = Mapping[str, "str | Sequence[str]"]  # our name -> the file's; several are joined along their last axis


def choose(names: Iterable[str], given: Choice | None, source: str) -> dict[str, tuple[str, ...]]:
    """Our name -> the file's names for it, of those it has.

    given: names that the caller says. Raises ValueError, naming ``source``, for a name that is not there, or when
    observations or actions are missing.
    """
    names, given = set(names), dict(given or {})
    for field in given:
        if field not in FIELDS:
            raise ValueError(f"{named('fields')}: found {shown(field)}, expected names for {', '.join(FIELDS)}")
    chosen = {}
    for field in FIELDS:
        said = given.get(field)
        wanted = (said,) if isinstance(said, str) else tuple(said or ())
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ValueError(f"{source}: no field {missing[0]!r} to be {field}: found {_listed(names)}")
        found = wanted or next(((name,) for name in (field, *SYNONYMS.get(field, ())) if name in names), ())
        if found:
            chosen[field] = found
    for field in REQUIRED:
        if field not in chosen:
            cure = setting("fields", f"{{'{field}': NAME}}", f"{field}=NAME")
            raise ValueError(f"{source}: no field {field!r}: found {_listed(names)}; {cure} says which it is")
    return chosen


def joined(parts: Mapping[str, np.ndarray], source: str) -> np.ndarray:
    """Arrays ``[N, ...]`` side by side: ``[N, dimensions]``; a single one as it is. ValueError names the one that has
    no steps, or not as many."""
    first = next(iter(parts))
    for name, part in parts.items():
        if np.ndim(part) == 0:
            raise ValueError(f"{source}: {name}: found a single number, expected an array with one row for each step")
        if len(part) != len(parts[first]):
            raise ValueError(f"{source}: {name}: found {len(part)} steps, expected {len(parts[first])}, as in {first}")
    if len(parts) == 1:
        return parts[first]
    return np.concatenate([np.asarray(part).reshape(len(part), -1) for part in parts.values()], axis=1)


def gathered(
    read: Callable[[str], np.ndarray], chosen: Mapping[str, Sequence[str]], source: str
) -> dict[str, np.ndarray]:
    """The arrays of a choice under our names, by a function that reads one. Errors as of ``joined``."""
    return {field: joined({name: read(name) for name in names}, source) for field, names in chosen.items()}


def _listed(names: set[str]) -> str:
    some = sorted(names)
    more = f" and {len(some) - LISTED} more" if len(some) > LISTED else ""
    return f"{some[:LISTED]}{more}"
