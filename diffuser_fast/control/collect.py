"""Recording Maze2D data the way D4RL did: a waypoint controller chases random targets in one unbroken stream.

D4RL's published sizes are 1e6 steps for U-Maze, 2e6 for Medium and 4e6 for Large. Two slips of its script are
not repeated: it stores successes as terminals, where a reader would cut, and after a success it records one
stale state.
"""

import importlib.metadata
from collections.abc import Callable

import numpy as np

from ..core.scalars import whole
from ..core.whole_file import check_writable
from ..data.files import save_stream
from ..data.hdf5 import import_h5py
from ..data.stream import Stream
from ..envs.layouts import layout_of
from ..envs.maze2d import GOAL_RADIUS, Maze2dEnv
from .waypoints import WaypointController

RECIPE = "waypoint-pd-2"  # to be changed whenever the same seed would give other data
NOISE = 0.5  # deviation of the action noise of a noisy stream
STEPS_AT_ONCE = 8192  # steps between two calls of `progress`


def collect(
    env_id: str,
    n_steps: int,
    seed: int = 0,
    path=None,
    noisy: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Stream:
    """Record `n_steps` steps in a maze (Multi2D shares Maze2D's data); the same seed gives the same stream.

    Each target is a random free cell + U(-0.1, 0.1); on success, or after the maze's episode cap, the next
    one is drawn and the point goes on from where it is. noisy: add 0.5 N(0, 1) to each action (then clipped
    to [-1, 1]).

    path: also write an HDF5 file there, whole or not at all. progress(done, n_steps) is called now and then.

    The stream: observations [N, 4], actions [N, 2], rewards those of the Maze2D task (1 where the step ends
    within 0.5 of the maze's default goal, wherever the controller was sent), terminals and timeouts False,
    infos goal, qpos, qvel (each float32 [N, 2]); attributes env_id, seed, n_steps, recipe, noisy,
    default_goal [2], successes, version.
    """
    n_steps, seed = whole("n_steps", n_steps, 1), whole("seed", seed, 0)
    layout = layout_of(env_id)
    if path is not None:
        import_h5py()  # before hours of work, not after
        check_writable(path)
    observations, actions, goals = (np.empty((n_steps, dim), np.float32) for dim in (4, 2, 2))
    successes = 0
    steps = _steps(Maze2dEnv(layout, random_target=True), seed, noisy)
    for start in range(0, n_steps, STEPS_AT_ONCE):
        part = np.array([next(steps) for _ in range(min(STEPS_AT_ONCE, n_steps - start))])
        where = slice(start, start + len(part))
        observations[where], actions[where], goals[where] = part[:, :4], part[:, 4:6], part[:, 6:8]
        successes += int(part[:, 8].sum())
        if progress is not None:
            progress(start + len(part), n_steps)
    after = np.vstack((observations[1:, :2], np.float32(next(steps)[:2])))
    distance = np.linalg.norm(after - layout.default_goal, axis=1)
    stream = Stream(
        observations=observations,
        actions=actions,
        rewards=(distance <= GOAL_RADIUS).astype(np.float32),
        terminals=np.zeros(n_steps, bool),
        timeouts=np.zeros(n_steps, bool),
        infos={"goal": goals, "qpos": observations[:, :2], "qvel": observations[:, 2:]},
        attributes={
            "env_id": f"maze2d-{layout.name}-v1",
            "seed": seed,
            "n_steps": n_steps,
            "recipe": RECIPE,
            "noisy": noisy,
            "default_goal": layout.default_goal,
            "successes": successes,
            "version": _version(),
        },
        source=f"collect({env_id!r}, seed={seed})",
    )
    if path is not None:
        save_stream(stream, path)
    return stream


def _steps(env: Maze2dEnv, seed: int, noisy: bool):
    """Yield (x, y, vx, vy, ax, ay, goal_x, goal_y, solved) for ever; all draws from the environment's rng."""
    x, y, vx, vy = env.reset(seed=seed)[0].tolist()
    rng, point, cap = env.np_random, env.point, env.max_episode_steps
    controller = WaypointController(env.layout, rng)
    while True:
        goal_x, goal_y = env.target.tolist()
        controller.aim(x, y, goal_x, goal_y)
        for _ in range(cap):
            ax, ay, solved = controller.act(x, y, vx, vy)
            if noisy:
                ax = max(-1.0, min(1.0, ax + NOISE * rng.standard_normal()))
                ay = max(-1.0, min(1.0, ay + NOISE * rng.standard_normal()))
            yield x, y, vx, vy, ax, ay, goal_x, goal_y, solved
            x, y, vx, vy = point.step(ax, ay)
            if solved:
                break
        env.set_target()


def _version() -> str:
    try:
        return importlib.metadata.version("diffuser-fast")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
