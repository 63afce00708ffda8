"""File -> Checkpoint. One dialect per file; what a path holds is told from its content. Native files need no torch."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import pretrained
from ..core.checkpoint import Checkpoint, Weights
from ..core.spelling import named
from . import janner, native
from .janner_runs import descend
from .native import save
from .sidecar import read_normalizers
from .sniff import FORMATS, native_file, sniff

__all__ = ["FORMATS", "load", "load_value", "save"]

PathLike = str | os.PathLike[str]


def load(path: PathLike, value: PathLike | None = None, normalizer: PathLike | None = None, **facts: Any) -> Checkpoint:
    """A checkpoint of any known format (see ``FORMATS``), or a bundled one by its name.

    path: a file or folder; a run of the original's or a folder above it that leads to one run only, logs/<environment>.
    value: path of a value checkpoint (either format), taken instead of the one beside or inside ``path``.
    normalizer: JSON sidecar of statistics, likewise; without any, ``normalizers`` is None. ``facts`` are for the
    original's folders: ``epoch`` picks ``state_<epoch>.pt`` (default, and "latest": the highest); ``horizon``,
    ``action_dim``, ``prediction`` and ``clip_denoised`` stand in for lost configurations.
    Raises FileNotFoundError or ValueError in one sentence that names the file.
    """
    path = descend(_found(path))
    kind = sniff(path)
    if kind == "native":
        if facts:
            given = ", ".join(named(f"load.{name}") for name in facts)
            raise TypeError(f"{given}: cannot be given for {path}, a native file says it all")
        checkpoint = native.load(native_file(path))
    else:
        checkpoint = janner.load(path, find_value=value is None, find_normalizer=normalizer is None, **facts)
    if value is not None:
        found = _value(descend(_found(value), "values"), guess=checkpoint.unet.spec.horizon)
        checkpoint = janner.with_value(checkpoint, found, value)
    if normalizer is not None:
        normalizers = read_normalizers(normalizer)
        try:
            checkpoint = replace(checkpoint, normalizers=normalizers)
        except ValueError as error:
            raise ValueError(f"{normalizer}: {error}") from None
    return checkpoint


def load_value(path: PathLike, *, horizon: int | None = None) -> Weights:
    """The value network of a checkpoint: a value folder or ``.pt`` of the original's, or a native file that has one.

    horizon: for a file of the original's that has lost its configuration. Errors as of ``load``.
    """
    return _value(descend(_found(path), "values"), horizon=horizon).weights


def _value(path: Path, *, horizon: int | None = None, guess: int | None = None) -> janner.Value:
    if sniff(path) == "janner":
        return janner.load_value(path, horizon=horizon, guess=guess)
    weights, schedule, metadata = native.load_value(native_file(path))
    return janner.Value(weights, schedule.n_steps, metadata)


def _found(path: PathLike) -> Path:
    """The path, or that of the bundled checkpoint of this name; FileNotFoundError lists the names."""
    if Path(path).exists():
        return Path(path)
    names = pretrained.names()
    if str(path) in names:
        return pretrained.path(str(path))
    raise FileNotFoundError(
        f"{path}: no such file or folder, nor a bundled checkpoint ({', '.join(names) or 'there are none'})"
    )
