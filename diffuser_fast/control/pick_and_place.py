"""Recording pick-and-places: OGBench's scripted oracle moves one cube at a time, onto another one or elsewhere.

A scene begins with cubes on the table, some on others, and has up to three pick-and-places in a row, as an episode of
the tasks does. Each is one path of states: those of its 80 to 95 steps, then the last one over and over, for the arm is
at rest. A placement that misses, or that moves another cube, is not recorded and ends its scene.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.scalars import whole
from ..core.whole_file import check_writable
from ..data.files import save_stream
from ..data.hdf5 import import_h5py
from ..data.stream import Stream
from ..envs.stacking import (
    CUBE,
    CUBES,
    MOST_YAW,
    PLACED,
    Scene,
    facing,
    free_place,
    import_ogbench,
    observations,
    position,
    positions,
    tops,
)

RECIPE = "pick-and-place-3"  # to be changed whenever the same seed would give other data
LENGTH = 136  # rows of a path: windows of 128 begin in its first steps
PLACEMENTS = 5000
IN_A_ROW = 3
COPIES = 4  # of each path, with the cubes renamed and the scene mirrored: the task has these symmetries
STACKED = 0.6  # share of placements on another cube
UNMOVED = 0.01  # metres that other cubes may be moved by
SCENES_AT_ONCE = 8


def collect_stacking(
    n_placements: int = PLACEMENTS, path: str | Path | None = None, *, seed: int = 0, workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Stream:  # fmt: skip
    """Record ``n_placements`` pick-and-places, ``COPIES`` paths of each; scene s follows from (seed, s) alone.

    path: also write an HDF5 file there, whole or not at all. workers: processes. progress(done, n_placements).
    The stream: observations ``[N, 47]`` (envs/stacking.py), actions ``[N, 0]``, timeouts where a path ends; attributes
    env_id, seed, n_placements, copies, recipe, version, and attempts, of which n_placements succeeded.
    """
    n_placements, workers = whole("n_placements", n_placements, 1), whole("workers", workers, 1)
    seed = whole("seed", seed, 0)
    import_ogbench()
    if path is not None:
        import_h5py()
        check_writable(path)
    paths, attempts = [], 0
    with closing(scenes(seed, workers)) as made:
        for number, (placements, tried) in enumerate(made):
            placements = placements[: n_placements - len(paths) // COPIES]
            attempts += tried
            rng = np.random.default_rng([seed, number, 1])
            paths += [observations(_symmetric(states, rng)) for states in placements for _ in range(COPIES)]
            if progress:
                progress(len(paths) // COPIES, n_placements)
            if len(paths) == n_placements * COPIES:
                break
    n = len(paths) * LENGTH
    stream = Stream(
        observations=np.concatenate(paths).astype(np.float32),
        actions=np.zeros((n, 0), np.float32),
        rewards=np.zeros(n, np.float32),
        terminals=np.zeros(n, bool),
        timeouts=np.arange(n) % LENGTH == LENGTH - 1,
        attributes={
            "env_id": "stacking", "seed": seed, "n_placements": n_placements, "copies": COPIES, "recipe": RECIPE,
            "attempts": attempts, "version": importlib.metadata.version("diffuser-fast"),
        },
        source=f"collect_stacking(seed={seed})",
    )  # fmt: skip
    if path is not None:
        save_stream(stream, path)
    return stream


def scenes(seed: int, workers: int = 1) -> Iterator[tuple[list[NDArray], int]]:
    """Scenes 0, 1, 2, ... for ever, in order: the paths ``[136, 27]`` of each, and how many were tried."""
    if workers == 1:
        scene = Scene()
        for number in count():
            yield record_scene(scene, np.random.default_rng([seed, number]))
    # Jobs are handed out a few ahead of what has been consumed. A process that has made many scenes is replaced: its
    # memory grows with them.
    with get_context("spawn").Pool(workers, maxtasksperchild=16) as pool:
        jobs = ((seed, range(first, first + SCENES_AT_ONCE)) for first in count(0, SCENES_AT_ONCE))
        waiting = [pool.apply_async(_job, next(jobs)) for _ in range(workers + 1)]
        while True:
            yield from waiting.pop(0).get()
            waiting.append(pool.apply_async(_job, next(jobs)))


def record_scene(scene: Scene, rng: np.random.Generator) -> tuple[list[NDArray], int]:
    """The paths ``[136, 27]`` of one scene, and how many pick-and-places were tried."""
    state, paths = scene.reset(rng, towers=rng.random() < 0.6), []
    for _ in range(IN_A_ROW):
        cube, place = choose(state, rng)
        states = move(scene, cube, place, rng)
        if not placed(states, cube, place) or len(states) > LENGTH - 8:
            return paths, len(paths) + 1
        paths.append(facing(np.concatenate((states, np.repeat(states[-1:], LENGTH - len(states), 0)))))
        state = states[-1]
    return paths, len(paths)


def placed(states: NDArray, cube: int, place: NDArray) -> bool:
    """Whether at the end of the states ``[T, 27]`` the cube is at its place ``[3]``, and others are where they were."""
    moved = np.linalg.norm(positions(states[-1]) - positions(states[0]), axis=1)
    moved[cube] = 0
    return bool(np.linalg.norm(states[-1, position(cube)] - place) <= PLACED / 2 and moved.max() <= UNMOVED)


def choose(state: NDArray, rng: np.random.Generator) -> tuple[int, NDArray]:
    """A cube that nothing stands on, and a place for it ``[3]``: on another such cube, or free on the table."""
    cubes, free = positions(state), tops(state)
    cube = int(rng.choice(free))
    others = [other for other in free if other != cube and cubes[other, 2] < cubes[cube, 2] + 3 * CUBE]
    if others and rng.random() < STACKED:
        highest = max(others, key=lambda other: cubes[other, 2])
        on = highest if rng.random() < 0.5 else int(rng.choice(others))
        return cube, cubes[on] + (0, 0, CUBE)
    return cube, free_place(rng, np.delete(cubes, cube, 0))


def move(scene: Scene, cube: int, place: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """The oracle takes ``cube`` to ``place [3]``; the states ``[T, 27]`` on the way, the first one before it moves."""
    oracle = _oracle(scene)
    target = {
        "privileged/target_block": cube,
        "privileged/target_block_pos": place,
        "privileged/target_block_yaw": np.array([rng.uniform(0, 2 * np.pi)]),
    }
    legacy = np.random.get_state()  # the oracle draws from numpy's global generator
    np.random.seed(int(rng.integers(2**32)))
    try:
        oracle.reset(None, scene.info | target)
    finally:
        np.random.set_state(legacy)
    states = [scene.state]
    while not oracle.done:
        action = scene.env.unnormalize_action(oracle.select_action(None, scene.info))
        states.append(scene.step(action))
    return np.array(states)


def _oracle(scene: Scene) -> Any:
    """OGBench's oracle without noise, which at the end turns back to within 45 degrees of where a scene begins."""

    class Oracle(import_ogbench()[1]):
        def compute_keyframes(self, plan_input: dict) -> tuple:
            goal = plan_input["effector_goal"].translation()
            yaw = np.random.uniform(-MOST_YAW, MOST_YAW)
            return super().compute_keyframes(plan_input | {"effector_goal": self.to_pose(goal, yaw)})

    return Oracle(scene.env, noise=0.0)


def _symmetric(states: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """The same path ``[H, 27]`` with the cubes renamed, and by chance left and right exchanged."""
    order = rng.permutation(CUBES)
    cubes = states[:, 7:].reshape(len(states), CUBES, 5)[:, order].reshape(len(states), -1)
    states = np.concatenate((states[:, :7], cubes), 1)
    if rng.random() < 0.5:
        mirrored = np.array([1, 4, *(8 + 5 * i for i in range(CUBES)), *(11 + 5 * i for i in range(CUBES))])  # y, sine
        states[:, mirrored] *= -1
    return states


def _job(seed: int, numbers: range) -> list[tuple[list[NDArray], int]]:
    scene = Scene()
    return [record_scene(scene, np.random.default_rng([seed, number])) for number in numbers]
