"""Block stacking as in section 5.3 of the paper, on OGBench's cubes: three plans in a row, each of one pick-and-place.

One planner that knows nothing of the tasks does all three. What a plan shall do is said when it is made:

    unconditional   some cube onto the tallest tower, a tower as tall as can be     a cost
    conditional     one cube onto another, towers in a given order                  a cost
    rearrangement   one cube to a given place, on the table or on another cube      a condition at the end

All cubes are alike, so they are renamed before a plan is made: cube 0 is the one below, cube 1 the one to be moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint
from ..core.cost import Cost, Form
from ..core.guidance import Guide
from ..core.scalars import whole
from ..envs.stacking import (
    CUBE,
    CUBES,
    OBSERVATION_DIM,
    PLACED,
    STATE_DIM,
    Scene,
    below,
    facing,
    free_place,
    observations,
    position,
    positions,
    states_of,
    tallest,
    tops,
)
from ..planner import Planner
from .pick_and_place import IN_A_ROW, LENGTH, choose, move, placed
from .tracking import follow

TASKS = ("unconditional", "conditional", "rearrangement")
ACTING = ("guided", "unguided", "oracle")
GIVEN = range(STATE_DIM, OBSERVATION_DIM)  # at every time of a plan
SETTLED = 96  # planned steps after which every cube of the data is where it was put
GUIDE = Guide(scale=1.0, n_steps=2, t_stopgrad=0, variance_power=0.5)
WEIGHT = 5.0  # of the costs; the guide's scale is 1
BATCH = 16  # candidates, of which the one of the lowest cost is followed
EPISODES = 2**20  # plan j of episode n is number j * EPISODES + n of the planner's seed


@dataclass(frozen=True)
class Goal:
    """What a plan shall do: take ``cube`` (None: whichever) to ``place [3]``, on the cube ``on`` (None: the table)."""

    cube: int | None
    on: int | None
    place: NDArray[np.float64]


@dataclass(frozen=True)
class Episode:
    """A task in one scene. order: ``[4]``, from the bottom up; places: ``[3, 3]``, of the first cubes of the order."""

    task: str
    order: NDArray[np.int64]
    places: NDArray[np.float64]

    @classmethod
    def drawn(cls, task: str, state: NDArray, rng: np.random.Generator) -> Episode:
        """A random order, and places clear of where the cubes are; each but the first may be on the one before."""
        order, taken, places = rng.permutation(CUBES), list(positions(state)), []
        for _ in range(IN_A_ROW):
            if places and rng.random() < 0.5:
                places.append(places[-1] + (0, 0, CUBE))
            else:
                places.append(free_place(rng, taken))
                taken.append(places[-1])
        return cls(task, order, np.array(places))

    def done(self, state: NDArray) -> list[bool]:
        """Which of the three placements are there, in the order in which they are to be made."""
        if self.task == "unconditional":
            return [tallest(state) > n for n in range(1, CUBES)]
        if self.task == "conditional":
            under = below(state)
            return [under[top] == bottom for bottom, top in zip(self.order[:-1], self.order[1:])]
        off = np.linalg.norm(positions(state)[self.order[:IN_A_ROW]] - self.places, axis=1)
        return list(off <= PLACED)

    def goal(self, state: NDArray) -> Goal:
        """Of the next plan: the first placement that is missing."""
        cubes, done = positions(state), self.done(state)
        n = done.index(False) if False in done else IN_A_ROW - 1
        if self.task == "rearrangement":
            return Goal(int(self.order[n]), None, self.places[n])
        on = max(tops(state), key=lambda cube: cubes[cube, 2]) if self.task == "unconditional" else int(self.order[n])
        cube = None if self.task == "unconditional" else int(self.order[n + 1])
        return Goal(cube, on, cubes[on] + (0, 0, CUBE))


def place(cube: int) -> tuple[Form, Form, Form]:
    """Where a cube is planned to be: where it was, and how far it is moved."""
    at = range(STATE_DIM)[position(cube)]
    return tuple(Cost.observation(STATE_DIM - 7 + d) + Cost.observation(d) for d in at)


def stacked(bottom: int = 0, top: int = 1) -> Form:
    """The squared distance of cube ``top`` from where it would stand on cube ``bottom``, square metres."""
    x, y, z = (a - b for a, b in zip(place(top), place(bottom)))
    return x**2 + y**2 + (z - CUBE) ** 2


def nearest(bottom: int = 0) -> Form:
    """The same of whichever other cube is the nearest to that: min(a, b) = a - max(0, a - b)."""
    found, *others = (stacked(bottom, top) for top in range(CUBES) if top != bottom)
    for other in others:
        found = found - (found - other).hinge()
    return found


def costs(horizon: int, weight: float = WEIGHT) -> dict[str, Cost]:
    """What plans of a task shall keep low, in the second half of a plan."""
    half = range(horizon // 2, horizon)
    return {
        "unconditional": Cost(nearest(), weight, half),
        "conditional": Cost(stacked(), weight, half),
    }


class Stacker:
    """Plans pick-and-places with one checkpoint. guided: with the task's cost or condition, else with neither."""

    def __init__(
        self, checkpoint: Checkpoint, task: str, *, guided: bool = True, guide: Guide = GUIDE, weight: float = WEIGHT,
        batch_size: int | None = None, **options: Any,
    ) -> None:  # fmt: skip
        _known(task)
        found = checkpoint.observation_dim, checkpoint.action_dim
        if found != (OBSERVATION_DIM, 0):
            raise ValueError(
                f"checkpoint: it was trained for {found[0]} observations and {found[1]} actions; "
                f"stacking has {OBSERVATION_DIM} and 0"
            )
        self.task, self.guided = task, guided
        cost = costs(checkpoint.unet.spec.horizon, weight).get(task) if guided else None
        size = (BATCH if cost else 1) if batch_size is None else batch_size
        self.planner = Planner(checkpoint, batch_size=size, cost=cost, guide=guide if cost else None, **options)

    def plan(self, state: NDArray, goal: Goal, number: int) -> tuple[NDArray[np.float64], float]:
        """States ``[H, 27]`` from ``state [27]`` on, of cubes as they are named in the plan, and the milliseconds."""
        names = [cube for cube in (goal.on, goal.cube) if cube is not None]
        names += [cube for cube in range(CUBES) if cube not in names]
        cubes = np.asarray(state[7:]).reshape(CUBES, 5)[names].reshape(-1)
        first = observations(facing([[*state[:7], *cubes]]))[0]
        told = dict(enumerate(first))
        conditions: dict[int, Any] = {t: {d: told[d] for d in GIVEN} for t in range(self.planner.horizon)} | {0: first}
        if self.guided and self.task == "rearrangement":
            moved = position(names.index(goal.cube))
            for t in range(SETTLED, self.planner.horizon):
                conditions[t] |= dict(zip(range(STATE_DIM)[moved], goal.place - state[position(goal.cube)]))
        plans = self.planner.plan(conditions, number=number)
        return states_of(plans.observations[0]), plans.latency_ms


@dataclass(frozen=True, eq=False)
class StackingRollout:
    """N episodes. placements: bool ``[N, 3]``, judged in the simulation at an episode's end.

    latency_ms: of every plan. Of the first episode: states ``[T + 1, 27]`` and plans ``[3, H, 27]``.
    """

    task: str
    acting: str
    seed: int
    placements: NDArray[np.bool_]
    latency_ms: NDArray[np.float64]
    states: NDArray[np.float64] = field(repr=False)
    plans: NDArray[np.float64] = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Plain values: score = 100 * successful placements of three, its standard error over episodes, and every
        episode's placements, so that methods can be compared start by start."""
        scores = 100 * self.placements.mean(axis=1)
        n = len(scores)
        return {
            "env": "stacking",
            "task": self.task,
            "acting": self.acting,
            "episodes": n,
            "seed": self.seed,
            "score": float(scores.mean()),
            "standard_error": float(scores.std(ddof=1) / n**0.5) if n > 1 else None,
            "plans": len(self.latency_ms),
            "call_latency_ms": {
                f"p{p}": float(np.percentile(self.latency_ms, p)) for p in (50, 90, 99) if len(self.latency_ms)
            },
            "placements": self.placements.sum(axis=1).tolist(),
        }


def rollout_stacking(
    stacker: Stacker | None, task: str, *, episodes: int = 50, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> StackingRollout:  # fmt: skip
    """Run episodes of a task, four cubes on the table and three plans in a row; ``stacker`` None: the oracle acts.

    Episode e begins from, and has the noise of, ``seed + e``. A plan is followed to its end, without looking at cubes.
    A placement that fails is tried again by the next plan, of three in all. progress(episodes done, in all).
    """
    _known(task)
    if stacker is not None and stacker.task != task:
        raise ValueError(f"task: found {task!r}, and plans are made for {stacker.task!r}")
    episodes, seed = whole("episodes", episodes, 1), whole("seed", seed, 0)
    scene, placements, latency, traced = Scene(), [], [], None
    for number in range(seed, seed + episodes):
        rng = np.random.default_rng([number, 2])
        state = scene.reset(rng)
        episode = Episode.drawn(task, state, rng)
        states, plans = [state], []
        for n in range(IN_A_ROW):
            goal = episode.goal(state)
            if stacker is None:
                state = _oracle(scene, state, goal, rng)
                continue
            plan, ms = stacker.plan(state, goal, n * EPISODES + number)
            plans.append(plan)
            latency.append(ms)
            states.extend(follow(scene, state, plan))
            state = states[-1]
        placements.append(episode.done(state))
        traced = traced or tuple(np.array(one) for one in (states, plans))
        if progress:
            progress(number - seed + 1, episodes)
    acting = "oracle" if stacker is None else "guided" if stacker.guided else "unguided"
    return StackingRollout(task, acting, seed, np.array(placements), np.array(latency), *traced)


def replayed(*, episodes: int = 50, seed: int = 0) -> list[bool]:
    """Whether the controller places cubes where the oracle did, by the oracle's states alone: what no plan can exceed.

    One pick-and-place of each of ``episodes`` scenes, of those that the oracle placed.
    """
    scene, found = Scene(), []
    for number in count(seed):
        rng = np.random.default_rng([number, 2])
        state = scene.reset(rng, towers=True)
        back, (cube, place) = scene.snapshot(), choose(state, rng)
        states = move(scene, cube, place, rng)
        if placed(states, cube, place):
            plan = np.concatenate((states, np.repeat(states[-1:], LENGTH - len(states), 0)))
            *_, last = follow(scene, back(), plan)
            found.append(bool(np.linalg.norm(last[position(cube)] - place) <= PLACED))
        if len(found) == episodes:
            return found


def _known(task: str) -> None:
    if task not in TASKS:
        raise ValueError(f"task: found {task!r}, expected one of {', '.join(TASKS)}")


def _oracle(scene: Scene, state: NDArray, goal: Goal, rng: np.random.Generator) -> NDArray[np.float64]:
    cube = goal.cube
    if cube is None:
        cube = int(rng.choice([other for other in tops(state) if other != goal.on] or [goal.on]))
    return move(scene, cube, goal.place, rng)[-1]
