"""Folders as the original writes them: Janner et al. 2022, of the main and of the maze2d branch.

state_<epoch>.pt          {"step", "model", "ema"}: state dicts of the diffusion; plans use "ema"
<name>_config.pkl         model, diffusion and dataset are read (as inert records), others are ignored; all may miss
values/                   such a folder again, of the value network; or ../../values/<run>, where the original puts it
normalizer_stats.json     the statistics, which the original does not store (see sidecar.py)
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint, Weights
from ..core.normalizers import Normalizers
from ..core.schedule import Schedule
from ..core.spec import Spec
from ..core.spelling import setting
from . import janner_keys as keys
from .janner_config import Config, guide_of, read_configs
from .janner_runs import values_of
from .janner_state import epoch_of, read_state, states
from .sidecar import NAME as SIDECAR
from .sidecar import read_normalizers


@dataclass(frozen=True)
class Value:
    """A value network by itself. n_steps: T of its schedule, which must be the U-Net's. metadata: provenance."""

    weights: Weights
    n_steps: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class _Trained:
    """One state file and the configurations beside it. rest: the state dict without the network's tensors."""

    file: Path
    network: dict[str, NDArray]
    rest: dict[str, NDArray]
    is_value: bool
    step: int | None
    configs: dict[str, Config]

    @property
    def metadata(self) -> dict[str, Any]:
        epoch = epoch_of(self.file)
        configs = {c.file.removesuffix("_config.pkl"): dict(c.arguments) for c in self.configs.values() if c}
        return {"file": self.file.name, "step": self.step, "epoch": epoch, "config": configs}


def load(
    path: str | os.PathLike[str], *, epoch: int | str | None = None, horizon: int | None = None,
    action_dim: int | None = None, prediction: str | None = None, clip_denoised: bool | None = None,
    find_value: bool = True, find_normalizer: bool = True,
) -> Checkpoint:  # fmt: skip
    """A folder, or one of its ``state_*.pt``, with its value network and the sidecar beside it, if any.

    epoch: which ``state_<epoch>.pt`` of a folder (default, and "latest": the highest). horizon, action_dim, prediction,
    clip_denoised: for files that have lost their configurations; they may not contradict what there is.
    Raises ValueError naming the file: cut short, not inert, keys or shapes of another network, configurations that
    contradict the weights or each other, several value networks that fit; FileNotFoundError; ImportError if torch is
    missing. Warns if there are value networks and none fits: it plans unguided.

    A Decision Diffuser without returns has the keys of the maze2d branch, and plans otherwise: all its noise is halved,
    and its activation may be another (``calc_energy``). No file says which it is; that a file is the original's is
    taken for granted.
    """
    trained = _read(Path(path), epoch)
    if trained.is_value:
        cure = setting("value", "path", "PATH", call="load(..., {})")
        raise ValueError(f"{trained.file}: a value network; it goes beside a U-Net, as {cure}")
    normalizers = None
    if find_normalizer and (sidecar := trained.file.parent / SIDECAR).is_file():
        normalizers = read_normalizers(sidecar)
    model, dataset = trained.configs["model"], trained.configs["dataset"]
    with _about(trained.file):
        horizon = _horizon(trained, horizon)
        if horizon is None:
            cure = setting("load.horizon", "")
            raise ValueError(f"its horizon is not known: no model_config.pkl is beside it; pass {cure}")
        unet = keys.unet_weights(trained.network, horizon)
        _check_model(model, unet.spec)
        facts = _facts(trained, unet.spec.transition_dim, action_dim, prediction, clip_denoised)
        _check_statistics(dataset, normalizers)
        env = dataset.get("env")
        checkpoint = Checkpoint(
            unet=unet,
            schedule=_schedule(trained),
            guide=guide_of(env),
            normalizers=normalizers,
            metadata={"format": "janner", "env": env, **trained.metadata},
            **facts,
        )
    return _with_found_value(checkpoint, trained.file.parent) if find_value else checkpoint


def load_value(
    path: str | os.PathLike[str],
    *,
    epoch: int | str | None = None,
    horizon: int | None = None,
    guess: int | None = None,
) -> Value:
    """The value network in a folder or ``state_*.pt`` of the original's.

    horizon: for a file that has lost its configuration. guess: the U-Net's, tried where nothing else says.
    Errors as of ``load``.
    """
    trained = _read(Path(path), epoch)
    if not trained.is_value:
        raise ValueError(f"{trained.file}: a U-Net, expected a value network")
    with _about(trained.file):
        weights = keys.value_weights(trained.network, _horizon(trained, horizon), guess)
        _check_model(trained.configs["model"], weights.spec)
        return Value(weights, _schedule(trained).n_steps, trained.metadata)


def with_value(checkpoint: Checkpoint, value: Value, path: str | os.PathLike[str]) -> Checkpoint:
    """``checkpoint`` guided by ``value``, which came from ``path``; ValueError if they cannot go together."""
    if value.n_steps != checkpoint.schedule.n_steps:
        steps = checkpoint.schedule.n_steps
        raise ValueError(f"value: {path} was trained with {value.n_steps} diffusion steps, the U-Net with {steps}")
    with _about(path):
        metadata = {**checkpoint.metadata, "value": dict(value.metadata)}
        return replace(checkpoint, value=value.weights, metadata=metadata)


def _with_found_value(checkpoint: Checkpoint, run: Path) -> Checkpoint:
    """``checkpoint`` with the value network in ``run``/values, or the one in ../../values that fits it, if any."""
    spec, n_steps = checkpoint.unet.spec, checkpoint.schedule.n_steps
    folder = run / "values"
    if folder.is_dir() and states(folder):
        return with_value(checkpoint, load_value(folder, guess=spec.horizon), folder)
    found = {folder: load_value(folder, guess=spec.horizon) for folder in values_of(run)}
    fitting = [
        folder for folder, value in found.items()
        if (value.weights.spec.horizon, value.weights.spec.transition_dim, value.n_steps)
        == (spec.horizon, spec.transition_dim, n_steps)
    ]  # fmt: skip
    if len(fitting) > 1:
        raise ValueError(
            f"{run}: {len(fitting)} value networks fit it; pass one of them as value=: {', '.join(map(str, fitting))}"
        )
    if found and not fitting:
        warnings.warn(
            f"{run}: planning unguided, for none of the value networks in {next(iter(found)).parent} fits horizon "
            f"{spec.horizon} and {n_steps} diffusion steps; value= takes another",
            stacklevel=4,
        )
    return with_value(checkpoint, found[fitting[0]], fitting[0]) if fitting else checkpoint


def _read(path: Path, epoch: int | str | None) -> _Trained:
    file, epoch = path, None if epoch == "latest" else epoch
    if path.is_dir():
        found = states(path)
        if not found:
            raise FileNotFoundError(f"{path}: no state_<epoch>.pt in this folder")
        if epoch is not None and epoch not in found:
            raise FileNotFoundError(f"{path}: no state_{epoch}.pt; there are epochs {sorted(found)}")
        file = found[max(found) if epoch is None else epoch]
    elif epoch not in (None, epoch_of(path)):
        raise ValueError(f"epoch: found {epoch}, but the path is one file, {path}")
    state, step = read_state(file)
    with _about(file):
        network, rest = keys.split(state)
        is_value = keys.is_value(state)
    return _Trained(file, network, rest, is_value, step, read_configs(file.parent))


def _horizon(trained: _Trained, given: int | None) -> int | None:
    model, diffusion = trained.configs["model"], trained.configs["diffusion"]
    loss = trained.rest.get("loss_fn.weights", np.empty(0))  # [H, D]; a value network's loss has none
    return _agreed(
        "horizon",
        {
            model.file: model.get("horizon"),
            diffusion.file: diffusion.get("horizon"),
            "loss_fn.weights": loss.shape[0] if loss.ndim == 2 else None,
            "the argument": given,
        },
    )


def _facts(
    trained: _Trained, depth: int, action_dim: int | None, prediction: str | None, clip_denoised: bool | None
) -> dict[str, Any]:
    """What only diffusion_config.pkl says; the arguments stand in for it where it is lost. depth: D."""
    model, config = trained.configs["model"], trained.configs["diffusion"]
    observed = config.get("observation_dim")
    if not config and action_dim is None:
        observed = model.get("cond_dim")  # the original passes the observation's size here, and never uses it
    # Where the file is there but silent, the constructor's own default counted.
    epsilon = "epsilon" if config.get("predict_epsilon", True) else "x0"
    clip = bool(config.get("clip_denoised", False))
    sources = {
        "action_dim": {
            config.file: config.get("action_dim"),
            "the observation": None if observed is None else depth - observed,
            "the argument": action_dim,
        },
        "prediction": {config.file: epsilon if config else None, "the argument": prediction},
        "clip_denoised": {config.file: clip if config else None, "the argument": clip_denoised},
    }
    facts = {name: _agreed(name, where) for name, where in sources.items()}
    unknown = [setting(f"load.{name}", "") for name, fact in facts.items() if fact is None]
    if unknown:
        raise ValueError(
            f"no diffusion_config.pkl is beside it; pass {', '.join(unknown)} to load it as the original's (a Decision "
            "Diffuser file can have the same keys, and plans otherwise)"
        )
    return facts


def _schedule(trained: _Trained) -> Schedule:
    schedule = Schedule.from_buffers(trained.rest)
    config = trained.configs["diffusion"]
    _agreed("n_timesteps", {config.file: config.get("n_timesteps"), "betas": schedule.n_steps})
    return schedule


def _check_model(config: Config, spec: Spec) -> None:
    for name in ("transition_dim", "dim", "dim_mults", "attention"):
        said = config.get(name)
        said = tuple(said) if isinstance(said, list) else said
        if said is not None and hasattr(spec, name) and said != getattr(spec, name):
            raise ValueError(f"{config.file} says {name} {said}, the weights have {getattr(spec, name)}")


def _check_statistics(config: Config, normalizers: Normalizers | None) -> None:
    kind = None if normalizers is None else normalizers.kind
    said = config.get("normalizer")
    if kind and said in ("GaussianNormalizer", "LimitsNormalizer", "CDFNormalizer") and said != kind:
        raise ValueError(f"{config.file} says {said}, {SIDECAR} holds statistics of a {kind}")


def _agreed(name: str, sources: Mapping[str, Any]) -> Any:
    """The one value that all sources which have it agree on (None: none has it)."""
    known = {where: value for where, value in sources.items() if value is not None}
    if not known:
        return None
    first, *others = known
    for where in others:
        if known[where] != known[first]:
            raise ValueError(f"{first} says {name} {known[first]}, {where} says {known[where]}")
    return known[first]


@contextlib.contextmanager
def _about(file: str | os.PathLike[str]) -> Iterator[None]:
    """Errors inside begin with the file's name."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from None
