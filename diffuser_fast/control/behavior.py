"""Recording locomotion data: behaviour policies rolled out in Gymnasium's v5 bodies, under D4RL's names.

The levels are ours. D4RL calls "medium" a policy stopped at about a third of its expert; so do we, but these are other
policies, trained for a few minutes (their cards say how and what they return), and the bodies are v5, not v2.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.writer import StreamWriter
from ..envs import names
from ..envs.locomotion import MAX_EPISODE_STEPS, body_of, make_body
from ..pretrained import actors as bundled
from .actor import Actor, load_actors

RECIPE = "behavior-1"  # to be changed whenever the same seed would give other data
# Data set -> the files of policies it is made of; all policies in them have equal shares of its steps.
LEVELS = {
    "medium": ("medium",),
    "expert": ("expert",),
    "medium-replay": ("replay",),
    "medium-expert": ("medium", "expert"),
}
# Steps, as many as D4RL's data sets have, rounded.
SIZES = {"medium": 1_000_000, "expert": 1_000_000, "medium-expert": 2_000_000}
REPLAY_SIZES = {"hopper": 400_000, "walker2d": 300_000, "halfcheetah": 200_000}
EPISODES_AT_ONCE = 8  # made by one worker before they are handed over


def default_steps(env_id: str) -> int:
    """How many steps D4RL's data set of this name has, rounded."""
    name = names.parse(env_id)
    return REPLAY_SIZES[name.family] if name.variant == "medium-replay" else SIZES[_level(env_id)]


def actors_of(env_id: str) -> list[tuple[str, Actor]]:
    """The bundled policies that make a data set, with their names (``medium``, ``replay 3``), in order.

    Raises ValueError for a data set that is not made here, or a body whose policies are not bundled.
    """
    family, found = names.parse(env_id).family, []
    for level in LEVELS[_level(env_id)]:
        actors, _ = load_actors(bundled.path(f"{family}-{level}"))
        found += [(level if len(actors) == 1 else f"{level} {i}", actor) for i, actor in enumerate(actors)]
    return found


def record(
    env_id: str, n_steps: int | None, path: str | Path, *, seed: int = 0, workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the data set ``env_id`` (``hopper-medium``, ...) to ``path``, HDF5, whole or not at all.

    Each policy fills its share of ``n_steps`` (None: D4RL's size) with episodes of at most 1000 steps; the last one is
    cut by a timeout. Episode e of policy p depends on (seed, p, e) alone, so any number of ``workers`` (processes)
    writes the same data. Fields: observations, actions (as executed, in [-1, 1]), rewards, next_observations,
    terminals, timeouts, infos/qpos, infos/qvel, infos/actor (int8, the policy's number).
    Returns the file's attributes: env_id, environment, seed, n_steps, recipe, version, actors, and the
    mean return of whole episodes, its standard error and their number, over all (``mean_return``) and by policy.
    """
    actors, body = actors_of(env_id), body_of(env_id)
    n_steps = default_steps(env_id) if n_steps is None else n_steps
    for argument, value, low in (("n_steps", n_steps, len(actors)), ("workers", workers, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"{argument}: found {value!r}, expected a whole number, at least {low}")
    ends = [n_steps * (i + 1) // len(actors) for i in range(len(actors))]
    returns: dict[str, list[float]] = {}
    with StreamWriter(path) as writer:
        for part, ((name, actor), end) in enumerate(zip(actors, ends)):
            returns[name] = []
            with closing(episodes(env_id, actor, (seed, part), workers)) as made:
                for arrays in made:
                    left = end - writer.steps
                    if len(arrays["rewards"]) > left:
                        arrays = {field: array[:left] for field, array in arrays.items()}
                        arrays["timeouts"][-1] = not arrays["terminals"][-1]
                    else:
                        returns[name].append(float(arrays["rewards"].sum(dtype=np.float64)))
                    writer.append({**arrays, "infos/actor": np.full(len(arrays["rewards"]), part, np.int8)})
                    if progress:
                        progress(writer.steps, n_steps)
                    if writer.steps == end:
                        break
        writer.attributes |= {
            "env_id": str(names.parse(env_id)), "environment": body.env_id, "seed": seed, "n_steps": n_steps,
            "recipe": RECIPE, "version": importlib.metadata.version("diffuser-fast"),
            "actors": json.dumps({name: _mean(values) for name, values in returns.items()}),
            **_mean([value for values in returns.values() for value in values]),
        }  # fmt: skip
        return dict(writer.attributes)


def episodes(env_id: str, actor: Actor, key: tuple[int, ...], workers: int = 1) -> Iterator[dict[str, NDArray]]:
    """Episodes 0, 1, 2, ... of a policy, for ever, in order; episode e follows from (*key, e) alone."""
    jobs = (
        (env_id, actor, key, range(first, first + EPISODES_AT_ONCE)) for first in _multiples(EPISODES_AT_ONCE)
    )  # fmt: skip
    if workers == 1:
        env = make_body(env_id)
        for *_, numbers in jobs:
            for e in numbers:
                yield episode(env, actor, np.random.SeedSequence([*key, e]))
        return
    with get_context("spawn").Pool(workers) as pool:  # jobs are handed out a few ahead of what has been consumed
        waiting = [pool.apply_async(_job, next(jobs)) for _ in range(workers + 1)]
        while True:
            yield from waiting.pop(0).get()
            waiting.append(pool.apply_async(_job, next(jobs)))


def episode(env: Any, actor: Actor, seed: np.random.SeedSequence) -> dict[str, NDArray]:
    """One episode to its end or to 1000 steps. Actions are sampled; the environment's draws have their own seed."""
    start, noise = seed.spawn(2)
    noise = np.random.default_rng(noise).standard_normal((MAX_EPISODE_STEPS, actor.action_dim), np.float32)
    obs, _ = env.reset(seed=int(start.generate_state(1)[0]))
    rows = {field: [] for field in ("observations", "actions", "rewards", "infos/qpos", "infos/qvel")}
    terminated = False
    for draw in noise:
        action = actor.act(obs, draw)
        before = (obs, action, None, env.data.qpos.copy(), env.data.qvel.copy())
        obs, reward, terminated, _, _ = env.step(action)
        for field, value in zip(rows, before):
            rows[field].append(reward if value is None else value)
        if terminated:
            break
    arrays = {field: np.array(values, np.float32) for field, values in rows.items()}
    arrays["next_observations"] = np.concatenate((arrays["observations"][1:], np.array(obs, np.float32)[None]))
    last = np.arange(len(arrays["rewards"])) == len(arrays["rewards"]) - 1
    return arrays | {"terminals": last & terminated, "timeouts": last & (not terminated)}


def _job(env_id: str, actor: Actor, key: tuple[int, ...], numbers: range) -> list[dict[str, NDArray]]:
    env = make_body(env_id)
    return [episode(env, actor, np.random.SeedSequence([*key, e])) for e in numbers]


def _multiples(step: int) -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += step


def _mean(returns: list[float]) -> dict[str, float | int]:
    """The number of episodes, their mean return and its standard error, as far as there are enough."""
    n = len(returns)
    found: dict[str, float | int] = {"episodes": n}
    if n:
        found["mean_return"] = float(np.mean(returns))
    if n > 1:
        found["standard_error"] = float(np.std(returns, ddof=1) / n**0.5)
    return found


def _level(env_id: str) -> str:
    name = names.parse(env_id)
    body_of(env_id)  # refuses mazes
    if name.variant not in LEVELS:
        made = ", ".join(f"{name.family}-{level}" for level in LEVELS)
        raise ValueError(f"env_id: found {env_id!r}, expected a data set that is made here: {made}")
    return name.variant
