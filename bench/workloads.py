"""Named workloads: what workloads.toml says. Python 3.11 or newer, as everything in a checkout."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import tomllib

from diffuser_fast.core.guidance import Guide

FILE = Path(__file__).with_name("workloads.toml")
KINDS = ("step", "gradient", "plan", "guided")


@dataclass(frozen=True)
class NetworkShape:
    """One released configuration: sizes, schedule, guide. ``known``: times at which the observation is given."""

    name: str
    horizon: int
    observation_dim: int
    action_dim: int
    dim_mults: tuple[int, ...]
    steps: int
    known: tuple[int, ...]
    dim: int = 32
    groups: int = 8
    attention: bool = False
    clip: bool = False
    guide: Guide | None = None

    @property
    def transition_dim(self) -> int:
        """D."""
        return self.observation_dim + self.action_dim


@dataclass(frozen=True)
class Workload:
    """One rung: a network, what is done with it, and how many trajectories at once."""

    network: NetworkShape
    kind: str
    batch: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"workload: kind {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.kind in ("gradient", "guided") and self.network.guide is None:
            raise ValueError(f"workload: {self.network.name} has no guide, which {self.kind} needs")
        if self.batch < 1:
            raise ValueError(f"workload: batch {self.batch} is not positive")

    @property
    def name(self) -> str:
        """NETWORK/KIND/bBATCH."""
        return f"{self.network.name}/{self.kind}/b{self.batch}"


@dataclass(frozen=True)
class GpuRung:
    """A rung of the GPU ladder: a workload in our precisions beside peers (names as of bench/gpu/peers.py)."""

    workload: str
    peers: tuple[str, ...]
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class Ladder:
    """Everything workloads.toml says."""

    seed: int
    networks: dict[str, NetworkShape]
    workloads: tuple[Workload, ...]
    summary: tuple[str, ...]
    quick: tuple[str, ...]
    quick_compiled: tuple[str, ...]
    tails: dict[str, Any]
    layers: tuple[str, ...]
    memory: tuple[str, ...]
    gpu: tuple[GpuRung, ...]
    gpu_rehearsal: tuple[GpuRung, ...]

    def find(self, name: str) -> Workload:
        """A workload by name, on the ladder or not; ValueError if there is no such network or kind."""
        parts = name.split("/")
        if len(parts) != 3 or not parts[2].startswith("b") or not parts[2][1:].isdigit():
            raise ValueError(f"workload: {name!r} is not NETWORK/KIND/bBATCH")
        network, _, horizon = parts[0].partition("@")
        if network not in self.networks or (horizon and not horizon.isdigit()):
            raise ValueError(f"workload: there is no network {parts[0]!r}; there are {', '.join(self.networks)}")
        shape = self.networks[network]
        return Workload(at_horizon(shape, int(horizon)) if horizon else shape, parts[1], int(parts[2][1:]))

    def select(self, only: Iterable[str] = (), names: Iterable[str] | None = None) -> list[Workload]:
        """Of ``names`` (default: the whole ladder) those that match any pattern: shell-style, or part of a name.

        A full name is taken even if it is not among them, so that anything may be timed once. ValueError if nothing
        is left.
        """
        chosen = list(self.workloads) if names is None else [self.find(name) for name in names]
        patterns = list(only)
        if patterns:
            chosen = [w for w in chosen if any(_matches(w.name, pattern) for pattern in patterns)]
            named = [self.find(pattern) for pattern in patterns if _is_whole(pattern)]  # on the ladder or not
            chosen += [w for w in named if w not in chosen]
        if not chosen:
            raise ValueError(f"--only: nothing matches {', '.join(patterns)}; --list shows every workload")
        return chosen


@lru_cache
def ladder(path: Path = FILE) -> Ladder:
    """Read workloads.toml; ValueError on what it should not say."""
    with open(path, "rb") as file:
        record = tomllib.load(file)
    networks = {name: _shape(name, entry) for name, entry in record["networks"].items()}
    workloads = []
    for entry in record["ladder"]:
        shapes = [networks[name] for name in entry["networks"]]
        if "horizons" in entry:
            shapes = [at_horizon(shape, h) for shape in shapes for h in entry["horizons"]]
        for shape in shapes:
            workloads += [Workload(shape, kind, batch) for kind in entry["kinds"] for batch in entry["batches"]]
    names = [w.name for w in workloads]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"workloads.toml: on the ladder twice: {', '.join(twice)}")
    quick = record["quick"]
    return Ladder(
        seed=record["seed"],
        networks=networks,
        workloads=tuple(workloads),
        summary=tuple(record["summary"]["workloads"]),
        quick=tuple(quick["workloads"]),
        quick_compiled=tuple(quick["compiled"]),
        tails=record["tails"],
        layers=tuple(record["layers"]["workloads"]),
        memory=tuple(record["memory"]["workloads"]),
        gpu=_rungs(record["gpu"], "rungs"),
        gpu_rehearsal=_rungs(record["gpu"], "rehearsal"),
    )


def at_horizon(shape: NetworkShape, horizon: int) -> NetworkShape:
    """The same network at another horizon, unguided (a value network's horizon is fixed)."""
    return replace(shape, name=f"{shape.name}@{horizon}", horizon=horizon, guide=None)


def _rungs(record: dict[str, Any], which: str) -> tuple[GpuRung, ...]:
    return tuple(
        GpuRung(entry["workload"], tuple(entry["peers"]), tuple(entry.get("precisions", record["precisions"])))
        for entry in record[which]
    )


def _shape(name: str, entry: dict[str, Any]) -> NetworkShape:
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    if "guide" in fields:
        fields["guide"] = Guide(**fields["guide"])
    try:
        return NetworkShape(name, **fields)
    except TypeError as error:
        raise ValueError(f"workloads.toml: [networks.{name}]: {error}") from None


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or (pattern in name and not _is_whole(pattern))


def _is_whole(pattern: str) -> bool:
    """A name with all its parts stands for itself: hopper/step/b1 is not part of hopper/step/b16."""
    return pattern.count("/") == 2 and not set(pattern) & set("*?[")
