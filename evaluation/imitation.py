"""``python -m evaluation.imitation PLANNER``: how well unguided plans act as the policy does that made their data.

That policy is bundled, so what a plan should have learnt is known at every state: the first actions of 64 unguided
plans are compared with the policy's own distribution, at states that it visits. And the policy itself is run with less
noise than it had in the data, which says what steadier actions alone are worth. Seeds are those of validation.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.recording import add_options, recording
from bench.records import Sheet
from diffuser_fast import Planner, load, pretrained
from diffuser_fast.control.actor import Actor
from diffuser_fast.control.behavior import actors_of
from diffuser_fast.envs.locomotion import MAX_EPISODE_STEPS, make_body

from .pareto import FIRST

SCALES = (1.0, 0.7, 0.5, 0.25, 0.0)
VISITED = 0.05  # of the steps of an episode, kept as states
COLUMNS = ["mean", "standard error", "of"]


def episodes(
    actor: Actor, env_id: str, scale: float, count: int, steps: int = MAX_EPISODE_STEPS
) -> tuple[NDArray, NDArray]:  # fmt: skip
    """Returns ``[count]`` of the policy with its noise times ``scale``, and some states ``[n, O]`` on the way."""
    env, returns, visited = make_body(env_id), [], []
    for seed in range(FIRST, FIRST + count):
        rng, total = np.random.default_rng(seed), 0.0
        obs, _ = env.reset(seed=seed)
        for _ in range(steps):
            action = actor.act(obs, (scale * rng.standard_normal(actor.action_dim)).astype(np.float32))
            if rng.random() < VISITED:
                visited.append(obs)
            obs, reward, over, *_ = env.step(action)
            total += reward
            if over:
                break
        returns.append(total)
    return np.array(returns), np.array(visited)


def first_actions(planner: Planner, actor: Actor, states: NDArray) -> dict[str, NDArray]:
    """Of the policy's actions and of the first ones of unguided plans, at ``states [n, O]``, each ``[A]``: the
    deviation of both, and the root of the mean square of the distance of their means. All within the motors' range."""
    rng, count = np.random.default_rng(0), planner.batch_size
    draws = rng.standard_normal((len(states), count, actor.action_dim)).astype(np.float32)
    own = np.array([[actor.act(obs, draw) for draw in some] for obs, some in zip(states, draws)])
    planned = [planner.plan({0: obs}, number=i).actions[:, 0] for i, obs in enumerate(states)]
    planned = np.clip(np.array(planned), -1, 1)
    # The means of so many samples are apart by chance alone, too.
    chance = (own.var(axis=1, ddof=1) + planned.var(axis=1, ddof=1)) / count
    apart = ((planned.mean(axis=1) - own.mean(axis=1)) ** 2 - chance).mean(axis=0)
    return {
        "policy": own.std(axis=1).mean(axis=0), "plans": planned.std(axis=1).mean(axis=0),
        "apart": np.sqrt(np.maximum(apart, 0)),
    }  # fmt: skip


def measured(name: str, count: int, states: int, batch: int, threads: int, steps: int = MAX_EPISODE_STEPS) -> Sheet:
    """Rows of the sheet: returns of the policy by its noise, then what first actions are like."""
    checkpoint = load(name)
    env_id = str(checkpoint.metadata["env"])
    (_, actor), *others = actors_of(env_id)
    if others:
        raise ValueError(f"planner: {name} learnt of several policies, found {1 + len(others)}, expected 1")
    rows: list[list[Any]] = []
    visited = None
    for scale in SCALES:
        returns, some = episodes(actor, env_id, scale, count, steps)
        visited = some if visited is None else visited
        error = float(returns.std(ddof=1) / count**0.5)
        rows.append(
            [f"return of the policy, its noise times {scale:g}", float(returns.mean()), error, f"{count} episodes"]
        )
    planner = Planner(checkpoint, "cpu", guide=None, batch_size=batch, threads=threads)
    found = first_actions(planner, actor, visited[:states])
    said = {
        "policy": "deviation of the policy's action", "plans": "deviation of a plan's first action",
        "apart": "distance of their means, rms",
    }  # fmt: skip
    for key, what in said.items():
        for dim, value in enumerate(found[key]):
            rows.append([f"{what}, action {dim}", float(value), None, f"{len(visited[:states])} states"])
    return Sheet("imitation", name, ["what", *COLUMNS], rows)


def main(words: list[str] | None = None) -> None:
    """Print the table, and append it to bench/results if asked for."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.imitation", description=__doc__.splitlines()[0])
    parser.add_argument("planner", choices=[name for name in pretrained.names() if not name.startswith("maze2d-")])
    parser.add_argument("--episodes", type=int, default=40, help="of the policy, with each noise")
    parser.add_argument("--states", type=int, default=120)
    parser.add_argument("--batch-size", type=int, default=64, help="plans at each state")
    parser.add_argument("--threads", type=int, default=1)
    add_options(parser)
    options = parser.parse_args(words)
    with recording("evaluation.imitation", words, options.threads, options) as kept:
        kept(measured(options.planner, options.episodes, options.states, options.batch_size, options.threads))


if __name__ == "__main__":
    main()
