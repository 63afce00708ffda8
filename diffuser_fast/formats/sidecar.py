"""The JSON sidecar of statistics: what normalises, since the original keeps it in no file (docs/statistics.md).

{"normalizer": "GaussianNormalizer", "fields": {"observations": {"means": [...], "stds": [...]}, "actions": {...}}}
"""

from __future__ import annotations

import json
import os
from pathlib import Path

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
