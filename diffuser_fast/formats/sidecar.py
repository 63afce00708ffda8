"""The JSON sidecar of statistics: what normalises, since the original keeps it in no file.

{"normalizer": "GaussianNormalizer", "fields": {"observations": {"means": [...], "stds": [...]}, "actions": {...}}}
"""

from __future__ import annotations

import json
import os

from ..core.normalizers import Normalizers

NAME = "normalizer_stats.json"  # looked for beside a checkpoint


def read_normalizers(path: str | os.PathLike[str]) -> Normalizers:
    """The statistics in a sidecar; ValueError names the file and what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"normalizer: there is no file {path}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"normalizer: {path} is not JSON") from None
    try:
        return Normalizers.from_json(record)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None
