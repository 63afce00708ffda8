"""``python -m evaluation.candidates PLANNER``: whether the candidates of a plan are true, and their values rank them.

At states that the policy visits which made the data, every candidate is played: its actions open loop, which says how
far the states that it plans are from those that its actions lead to, and then the policy from there on, which says what
the candidate returns. A value network is worth its gradient as far as its values and these returns agree among
candidates of one state; that they agree from state to state chooses nothing. How far two halves of the repeats agree
says how much of the returns is the candidate's doing, not the policy's noise: values cannot be judged by more.
Discount, penalty and number of steps are the value's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.recording import add_options, recording
from bench.records import Sheet
from diffuser_fast import Planner, load, pretrained
from diffuser_fast.control.actor import Actor
from diffuser_fast.control.behavior import actors_of
from diffuser_fast.core.guidance import Guide
from diffuser_fast.envs.locomotion import MAX_EPISODE_STEPS, make_body

from .pareto import FIRST

PLAYED = 8  # actions of a candidate, before the policy takes over
FEWEST, MOST = 10, 400  # steps of the policy before a state is taken
COLUMNS = ["mean", "standard error", "of"]


class Body:
    """An environment that goes back to a state, and a policy that acts in it."""

    def __init__(self, env: Any, actor: Actor, discount: float, penalty: float) -> None:
        self.env, self.actor, self.discount, self.penalty = env, actor, discount, penalty

    def act(self, obs: NDArray, rng: np.random.Generator) -> NDArray:
        """The policy's, with its own noise."""
        return self.actor.act(obs, rng.standard_normal(self.actor.action_dim).astype(np.float32))

    def states(self, count: int) -> Iterator[tuple[NDArray, tuple[NDArray, NDArray]]]:
        """Observations, and the positions and velocities that they are of; an episode each."""
        seed = FIRST
        while count:
            rng = np.random.default_rng(seed)
            (obs, _), over = self.env.reset(seed=seed), False
            for _ in range(rng.integers(FEWEST, MOST)):
                if not over:
                    obs, _, over, *_ = self.env.step(self.act(obs, rng))
            seed += 1
            if not over:
                count -= 1
                yield obs, (self.env.data.qpos.copy(), self.env.data.qvel.copy())

    def played(self, state: tuple[NDArray, NDArray], actions: NDArray) -> NDArray:
        """Observations after each of the actions ``[k, O]``."""
        self.env.set_state(*state)
        return np.array([self.env.step(action)[0] for action in actions])

    def returned(self, state: tuple[NDArray, NDArray], obs: NDArray, actions: NDArray, seed: int, steps: int) -> float:
        """What follows, discounted: of the actions, then of the policy."""
        self.env.set_state(*state)
        rng, total = np.random.default_rng(seed), 0.0
        for step in range(steps):
            obs, reward, over, *_ = self.env.step(actions[step] if step < len(actions) else self.act(obs, rng))
            total += self.discount**step * (reward + (self.penalty if over else 0))
            if over:
                break
        return total


def found(planner: Planner, body: Body, count: int, repeats: int, steps: int) -> dict[str, NDArray]:
    """values: ``[states, candidates]``; returns: ``[states, candidates, repeats]``; errors: ``[states, played]``, of
    planned states, in standard deviations of the data, mean over dimensions and candidates."""
    values, returns, errors = [], [], []
    scale = np.asarray(planner.checkpoint.normalizers.observations.straight[0])
    for number, (obs, state) in enumerate(body.states(count)):
        plans = planner.plan({0: obs}, number=number)
        actions = np.clip(plans.actions[:, :PLAYED], -1, 1)
        true = np.array([body.played(state, one) for one in actions])
        errors.append((np.abs(true - plans.observations[:, 1 : PLAYED + 1]) / scale).mean(axis=(0, 2)))
        values.append(plans.values)
        returns.append([[body.returned(state, obs, one, seed, steps) for seed in range(repeats)] for one in actions])
    return {"values": np.array(values), "returns": np.array(returns), "errors": np.array(errors)}


def measured(name: str, count: int, batch: int, repeats: int, threads: int, steps: int | None = None) -> Sheet:
    """Rows of the sheet. steps: of a return, if not the value's own."""
    checkpoint = load(name)
    if checkpoint.value is None:
        raise ValueError(f"planner: {name} has no value network, which this judges")
    env_id = str(checkpoint.metadata["env"])
    (_, actor), *_ = actors_of(env_id)
    recipe = checkpoint.metadata["value"]["recipe"]
    body = Body(make_body(env_id), actor, recipe["discount"], recipe["termination_penalty"] or 0.0)
    planner = Planner(checkpoint, "cpu", guide=Guide(n_steps=0), batch_size=batch, threads=threads)
    them = found(planner, body, count, repeats, steps or recipe.get("n_step") or MAX_EPISODE_STEPS)
    values, each = them["values"], them["returns"]
    returns, half = each.mean(axis=2), repeats // 2
    alike = np.array([np.corrcoef(v, r)[0, 1] for v, r in zip(values, returns)])
    halves = np.array([np.corrcoef(r[:, :half].mean(1), r[:, half:].mean(1))[0, 1] for r in each])
    gain = np.take_along_axis(returns, values.argmax(axis=1)[:, None], 1)[:, 0] - returns.mean(axis=1)
    rows: list[list[Any]] = [
        [f"distance of a planned state from the true one, step {k + 1}, sd", *_mean(them["errors"][:, k])]
        for k in (0, 1, 3, 7)
    ]
    between = float(np.corrcoef(values.mean(axis=1), returns.mean(axis=1))[0, 1])
    rows += [
        ["correlation of value and return, from state to state", between, None],
        ["the same among the candidates of a state", *_mean(alike)],
        ["the same of half the repeats and the others", *_mean(halves)],
        ["deviation of values among candidates", *_mean(values.std(axis=1))],
        ["deviation of returns among candidates", *_mean(returns.std(axis=1))],
        ["return of the best by value, less their mean", *_mean(gain)],
        ["return of the best there is, less their mean", *_mean(returns.max(axis=1) - returns.mean(axis=1))],
    ]
    return Sheet("candidates", Path(name).stem, ["what", *COLUMNS], [[*row, f"{count} states"] for row in rows])


def _mean(numbers: NDArray) -> tuple[float, float]:
    return float(numbers.mean()), float(numbers.std(ddof=1) / len(numbers) ** 0.5)


def main(words: list[str] | None = None) -> None:
    """Print the table, and append it to bench/results if asked for."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.candidates", description=__doc__.splitlines()[0])
    bundled = [name for name in pretrained.names() if not name.startswith("maze2d-")]
    parser.add_argument("planner", help=f"a checkpoint of a body: {', '.join(bundled)}, or a file")
    parser.add_argument("--states", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=16, help="candidates at each state")
    parser.add_argument("--repeats", type=int, default=4, help="of what the policy does after a candidate")
    parser.add_argument("--threads", type=int, default=1)
    add_options(parser)
    options = parser.parse_args(words)
    if options.states < 2 or options.batch_size < 2 or options.repeats < 2:
        parser.error("--states, --batch-size, --repeats: expected 2 or more of each")
    with recording("evaluation.candidates", words, options.threads, options) as kept:
        kept(measured(options.planner, options.states, options.batch_size, options.repeats, options.threads))


if __name__ == "__main__":
    main()
