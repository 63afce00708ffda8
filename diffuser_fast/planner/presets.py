"""Presets: settings of a planner under a name, chosen for its networks by what they score in closed loop.

They are part of what is known about a checkpoint: ``checkpoint.metadata["presets"]``, name -> settings. For a native
file ``load`` finds them beside it (``NAME.presets.json``), so that weights need not be written again when a better
choice is known. ``python -m evaluation.pareto`` measures what there is to choose from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..core.checkpoint import Checkpoint
from ..core.guidance import Guide
from ..core.scalars import real, shown, whole

PRESETS = ("realtime", "balanced", "paper")  # from the fastest to the original's settings
_GUIDE = {field.name for field in fields(Guide)}


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}: found {shown(value)}, expected a word")
    return value


# What a preset may say, and how it is checked. A guide is "rank", or those numbers of it that are not the checkpoint's.
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "sampler": _word, "n_steps": lambda n, v: whole(n, v, 1), "eta": lambda n, v: real(n, v, 0),
    "warm_start": lambda n, v: whole(n, v, 1), "batch_size": lambda n, v: whole(n, v, 1), "precision": _word,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Arguments of a ``Planner`` as it takes them; None: they are not said."""

    batch_size: int | None = None
    sampler: str | None = None
    n_steps: int | None = None
    precision: str | None = None
    guide: Guide | str | None = "auto"
    warm_start: int | None = None
    options: Mapping[str, float] | None = None  # of the sampler


def with_preset(checkpoint: Checkpoint, preset: str | None, given: Settings) -> Settings:
    """What was given, and what the preset says of the rest.

    A sampler, a number of steps or a sampler's option of the caller's own leaves out the preset's sampler as a whole:
    steps, options and warm start. ValueError if the checkpoint has no preset of this name.
    """
    if preset is None:
        return given
    _word("preset", preset)
    said = preset_of(checkpoint, preset)
    own = given.sampler is not None or given.n_steps is not None or given.options
    if not own:
        given = replace(given, sampler=said.get("sampler"), n_steps=said.get("n_steps"))
        given = replace(given, options={"eta": said["eta"]} if "eta" in said else {})
        given = given if given.warm_start is not None else replace(given, warm_start=said.get("warm_start"))
    if given.batch_size is None:
        given = replace(given, batch_size=said.get("batch_size"))
    if given.precision is None:
        given = replace(given, precision=said.get("precision"))
    if given.guide == "auto" and "guide" in said:
        guide = Guide(n_steps=0) if said["guide"] == "rank" else replace(checkpoint.guide, **said["guide"])
        given = replace(given, guide=guide)
    return given


def preset_of(checkpoint: Checkpoint, preset: str) -> dict[str, Any]:
    """The settings under a name, checked; ValueError where there are none, or none that make sense."""
    known = checkpoint.metadata.get("presets")
    if not known:
        raise ValueError(f"preset: found {preset!r}, but this checkpoint has no presets (bundled planners have)")
    if not isinstance(known, Mapping) or not all(isinstance(said, Mapping) for said in known.values()):
        raise ValueError(f"presets: found {shown(known)}, expected settings by name")
    if preset not in known:
        raise ValueError(f"preset: found {preset!r}, expected one of {', '.join(known)}")
    said = dict(known[preset])
    for name, value in said.items():
        if name == "guide" and (value == "rank" or (isinstance(value, Mapping) and value.keys() <= _GUIDE)):
            continue
        if name not in _CHECKS:
            raise ValueError(f"presets: {preset} says {name}={shown(value)}, which is no setting of a preset")
        said[name] = _CHECKS[name](f"presets: {preset}: {name}", value)
    return said
