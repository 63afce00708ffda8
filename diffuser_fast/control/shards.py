"""Episodes spread over processes, here or as jobs of a cluster. Noise and starts belong to the episode, so a shard's
episodes are those that one process would have made, to the bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import numpy as np

from ..core.scalars import whole
from ..envs.locomotion import is_locomotion
from ..planner import Planner
from .locomotion import BodyRollout, rollout_body
from .rollout import Rollout, rollout

CLUSTERS = ("slurm", "local", "debug")  # submitit's: a Slurm array; processes here; this process
Result = Rollout | BodyRollout


@dataclass(frozen=True)
class Shard:
    """Episodes ``seed`` to ``seed + episodes - 1`` of an environment. options: of ``rollout`` or ``rollout_body``."""

    env: str
    seed: int
    episodes: int
    options: Mapping[str, Any]

    def run(self, planner: Planner) -> Result:
        """Its episodes, in this process."""
        run = rollout_body if is_locomotion(self.env) else rollout
        return run(planner, self.env, episodes=self.episodes, seed=self.seed, **self.options)


def sharded(
    planner: Planner, env: str, *, episodes: int, seed: int = 0, workers: int = 1, cluster: str | None = None,
    cluster_options: Mapping[str, Any] | None = None, folder: str | os.PathLike[str] = "runs/jobs",
    progress: Callable[[int, int], None] | None = None, **options: Any,
) -> Result:  # fmt: skip
    """``rollout`` or ``rollout_body`` with these options, by ``workers`` processes or, on a cluster, jobs.

    cluster: None, or through submitit (``pip install diffuser-fast[cluster]``) "slurm": one array of jobs; "local":
    processes started as jobs are; "debug": in this process. cluster_options: of submitit's executor, such as
    ``timeout_min`` and ``slurm_partition``. folder: of the jobs' logs and results; every job must see it. The engine's
    threads should be shared out by whoever makes the planner. progress(episodes done, in all). A shard's error is
    raised here.
    """
    workers = whole("workers", workers, 1)
    if cluster is not None and cluster not in CLUSTERS:
        raise ValueError(f"cluster: found {cluster!r}, expected one of {', '.join(CLUSTERS)}")
    if cluster is None and cluster_options:
        raise ValueError(f"cluster_options: found {', '.join(cluster_options)}, but no cluster")
    episodes, seed = whole("episodes", episodes, 1), whole("seed", seed, 0)
    # Local processes take the next shard when they have done one; jobs have one each.
    shards = split(env, episodes, seed, workers if cluster else episodes, options)
    done, parts = 0, []
    made = _cluster(planner, shards, workers, cluster, cluster_options or {}, folder) if cluster else None
    for part in made if made is not None else _processes(planner, shards, min(workers, len(shards))):
        parts.append(part)
        done += len(part.returns)
        if progress:
            progress(done, episodes)
    return joined(parts)


def split(env: str, episodes: int, seed: int, most: int, options: Mapping[str, Any]) -> list[Shard]:
    """At most ``most`` shards of consecutive episodes. Of a maze's, those planned together stay together."""
    size = 1 if is_locomotion(env) else whole("together", options.get("together", 25), 1)
    groups = -(-episodes // size)
    bounds = [min(int(b) * size, episodes) for b in np.linspace(0, groups, min(most, groups) + 1).round()]
    return [Shard(env, seed + a, b - a, options) for a, b in pairwise(bounds)]


def joined(parts: list[Result]) -> Result:
    """Shards in order, as one: what is of episodes and of plans is put together; traces are of the first episode."""
    first = parts[0]
    names = ("returns", "lengths", "latency_ms") if isinstance(first, BodyRollout) else (
        "returns", "scores", "observations", "targets", "plans", "latency_ms", "situations")  # fmt: skip
    return replace(first, **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _processes(planner: Planner, shards: list[Shard], workers: int):
    if workers == 1:
        yield from (shard.run(planner) for shard in shards)
        return
    with get_context("spawn").Pool(workers, _ready, (planner,)) as pool:
        yield from pool.imap(_job, shards)


def _ready(planner: Planner) -> None:
    global _planner
    _planner = planner


def _job(shard: Shard) -> Result:
    return shard.run(_planner)


def _alone(planner: Planner, shard: Shard) -> Result:
    return shard.run(planner)


def _cluster(planner: Planner, shards: list[Shard], workers: int, cluster: str, options: Mapping, folder: Any):
    try:
        import submitit
    except ImportError as error:
        raise ImportError(
            "cluster: jobs are submitted by submitit: pip install diffuser-fast[cluster]", name="submitit"
        ) from error
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    try:
        executor.update_parameters(**{"name": "diffuser-fast", **options})
    except (NameError, TypeError, AssertionError) as error:
        raise ValueError(f"cluster_options: submitit takes them not: {error}") from None
    jobs = executor.map_array(_alone, [planner] * len(shards), shards)
    yield from (job.result() for job in jobs)
