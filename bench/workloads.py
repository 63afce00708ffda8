"""Named workloads: what workloads.toml says. Python 3.11 or newer, as everything in a checkout."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import tomllib

from diffuser_fast.core.guidance import Guide

FILE = Path(__file__).with_name("workloads.toml")
KINDS = ("step", "gradient", "plan", "guided")


@dataclass(frozen=True)
class NetworkConfig:
    """One released configuration. steps: of the schedule. observed: times at which the observation is given."""

    name: str
    horizon: int
    observation_dim: int
    action_dim: int
    steps: int
    dim_mults: tuple[int, ...] = (1, 4, 8)
    observed: tuple[int, ...] = (0,)
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
    """A network, what is done with it, and how many trajectories at once. ValueError on what cannot be."""

    network: NetworkConfig
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
class Workloads:
    """Everything workloads.toml says. summary: what the front page calls it -> workload. sets: named lists of names."""

    networks: dict[str, NetworkConfig]
    suite: tuple[Workload, ...]
    summary: dict[str, str]
    sets: dict[str, list[str]]

    def find(self, name: str) -> Workload:
        """A workload by name, in the suite or not; ValueError if there is no such network or kind."""
        parts = name.split("/")
        if len(parts) != 3 or not parts[2].startswith("b") or not parts[2][1:].isdigit():
            raise ValueError(f"workload: {name!r} is not NETWORK/KIND/bBATCH")
        return Workload(_network(self.networks, parts[0]), parts[1], int(parts[2][1:]))

    def select(self, only: Iterable[str] = (), names: Iterable[str] | None = None) -> list[Workload]:
        """Of ``names`` (default: the whole suite) those that match any pattern: shell-style, or part of a name.

        A full name stands for itself, among them or not. ValueError if nothing is left.
        """
        chosen = list(self.suite) if names is None else [self.find(name) for name in names]
        if only:
            whole = [pattern for pattern in only if pattern.count("/") == 2 and not set(pattern) & set("*?[")]
            found = [w for w in chosen if matches(w.name, [pattern for pattern in only if pattern not in whole])]
            chosen = list(dict.fromkeys([*found, *map(self.find, whole)]))
        if not chosen:
            raise ValueError(f"--only: nothing matches {', '.join(only)}; workloads.toml names them all")
        return chosen


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of these: shell-style, or part of a name."""
    return any(fnmatch.fnmatchcase(name, one) or one.lower() in name.lower() for one in patterns)


@lru_cache
def workloads(path: Path = FILE) -> Workloads:
    """Read workloads.toml."""
    record = tomllib.loads(path.read_text(encoding="utf-8"))
    networks = {name: _config(name, entry) for name, entry in record["networks"].items()}
    suite = [
        Workload(_network(networks, name), kind, batch)
        for entry in record["suite"]
        for name, kind, batch in product(entry["networks"], entry["kinds"], entry["batches"])
    ]
    return Workloads(networks, tuple(suite), record["summary"], record["sets"])


def _network(networks: dict[str, NetworkConfig], name: str) -> NetworkConfig:
    """By name; "hopper@64" is the same at another horizon, unguided (a value network's horizon is fixed)."""
    found, _, horizon = name.partition("@")
    if found not in networks or (horizon and not horizon.isdigit()):
        raise ValueError(f"workload: there is no network {name!r}; there are {', '.join(networks)}")
    return replace(networks[found], name=name, horizon=int(horizon), guide=None) if horizon else networks[found]


def _config(name: str, entry: dict) -> NetworkConfig:
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return NetworkConfig(name, **{**fields, "guide": Guide(*fields["guide"]) if "guide" in fields else None})
