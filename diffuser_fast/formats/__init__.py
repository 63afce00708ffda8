"""File -> Checkpoint. One dialect per file; what a path holds is told from its content. Native files need no torch."""

from __future__ import annotations

import inspect
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import pretrained
from ..core.checkpoint import Checkpoint, Weights
from ..core.scalars import shown
from ..core.spelling import named
from . import cleandiffuser, decision_diffuser, diffusers, diffusion_policy, janner, kuka, lerobot, native
from .janner_runs import descend
from .native import save
from .sidecar import NAME as SIDECAR
from .sidecar import read_normalizers, with_presets
from .sniff import FORMATS, native_file, sniff

__all__ = ["FORMATS", "load", "load_value", "save"]

PathLike = str | os.PathLike[str]


# Formats of other libraries: a module each, whose ``load`` takes the path, ``find_value``, ``normalizers`` and facts.
_OTHERS = {
    "diffusers": diffusers, "cleandiffuser": cleandiffuser, "diffusion_policy": diffusion_policy, "lerobot": lerobot,
    "decision_diffuser": decision_diffuser, "kuka": kuka,
}  # fmt: skip


def load(path: PathLike, value: PathLike | None = None, normalizer: PathLike | None = None, **facts: Any) -> Checkpoint:
    """A checkpoint of any known format (see ``FORMATS``), or a bundled one by its name.

    path: a file or folder; a run of the original's or a folder above it that leads to one run only, logs/<environment>.
    value: path of a value checkpoint (native or the original's), taken instead of the one beside or inside ``path``.
    normalizer: JSON sidecar of statistics, likewise; without any, ``normalizers`` is None. ``facts`` are what no file
    of a format says, and docs/migrating.md lists them. Of the original's: ``epoch`` picks ``state_<epoch>.pt``
    (default, and "latest": the highest); ``horizon``, ``action_dim``, ``prediction`` and ``clip_denoised`` stand in for
    lost configurations.
    Raises FileNotFoundError or ValueError in one sentence that names the file.
    """
    path = descend(_found(path))
    kind = sniff(path)
    beside = (path if path.is_dir() else path.parent) / SIDECAR
    if normalizer is None and kind in _OTHERS and beside.is_file():
        normalizer = beside
    if normalizer is not None and not isinstance(normalizer, (str, os.PathLike)):
        raise TypeError(f"{named('normalizer')}: expected the path of a JSON sidecar, found {shown(normalizer)}")
    normalizers = None if normalizer is None else read_normalizers(normalizer)
    taken = {"native": (), "janner": _facts(janner)}.get(kind) if kind not in _OTHERS else _facts(_OTHERS[kind])
    if strangers := [name for name in facts if name not in taken]:
        given = ", ".join(named(f"load.{name}") for name in strangers)
        why = (
            "a native file says it all"
            if kind == "native"
            else f"{FORMATS[kind]} takes {', '.join(taken) or 'no facts'}"
        )
        raise TypeError(f"{given}: cannot be given for {path}, {why}")
    if kind in _OTHERS:
        checkpoint = _OTHERS[kind].load(path, find_value=value is None, normalizers=normalizers, **facts)
    elif kind == "native":
        checkpoint = native.load(native_file(path))
        checkpoint = with_presets(checkpoint, native_file(path))
    else:
        checkpoint = janner.load(path, find_value=value is None, find_normalizer=normalizer is None, **facts)
    if value is not None:
        found = _value(descend(_found(value), "values"), guess=checkpoint.unet.spec.horizon)
        checkpoint = janner.with_value(checkpoint, found, value)
    if normalizers is not None and kind not in _OTHERS:
        try:
            checkpoint = replace(checkpoint, normalizers=normalizers)
        except ValueError as error:
            raise ValueError(f"{normalizer}: {error}") from None
    return checkpoint


def _facts(module: Any) -> tuple[str, ...]:
    parameters = tuple(inspect.signature(module.load).parameters)
    return tuple(name for name in parameters if name not in ("path", "find_value", "find_normalizer", "normalizers"))


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
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected a path or the name of a bundled checkpoint, found {shown(path)}")
    if not str(path):
        raise FileNotFoundError("path: found '', expected a path or the name of a bundled checkpoint")
    if Path(path).exists():
        return Path(path)
    names = pretrained.names()
    if str(path) in (*names, *pretrained.APART):
        return pretrained.path(str(path))
    raise FileNotFoundError(
        f"{path}: no such file or folder, nor a bundled checkpoint ({', '.join(names) or 'there are none'})"
    )
