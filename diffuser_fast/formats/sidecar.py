"""JSON sidecars: presets, and statistics: what normalises, since the original keeps it in no file (docs/statistics.md).

{"normalizer": "GaussianNormalizer", "fields": {"observations": {"means": [...], "stds": [...]}, "actions": {...}}}
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from ..core.checkpoint import Checkpoint
from ..core.contents import START, looks_like
from ..core.normalizers import Normalizers
from ..core.whole_file import write_whole

NAME = "normalizer_stats.json"  # looked for beside a checkpoint


def read_normalizers(path: str | os.PathLike[str]) -> Normalizers:
    """The statistics in a sidecar; ValueError names the file and what is wrong with it."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"normalizer: there is no file {path}") from None
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        looks = looks_like(content[:START])
        known = "" if looks.startswith(("JSON", "nothing known")) else f"; it looks like {looks}"
        raise ValueError(f"normalizer: {path} is not JSON{known}") from None
    try:
        return Normalizers.from_json(record)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def write_normalizers(normalizers: Normalizers, path: str | os.PathLike[str]) -> Path:
    """Write a sidecar that ``read_normalizers`` reads to the same numbers, whole or not at all; returns the path."""
    path = Path(path)
    write_whole(path, (json.dumps(normalizers.to_json(), indent=1) + "\n").encode())
    return path


def with_presets(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The checkpoint of a native file with the presets that lie beside it, ``NAME.presets.json``, if there are any.

    ValueError if that file is not a JSON object; what it says is checked when a Planner is asked for it.
    """
    beside = path.with_suffix(".presets.json")
    if not beside.is_file():
        return checkpoint
    try:
        presets = json.loads(beside.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError(f"{beside}: not JSON") from None
    if not isinstance(presets, dict):
        raise ValueError(f"{beside}: expected a JSON object of presets by name")
    return replace(checkpoint, metadata={**checkpoint.metadata, "presets": presets})
