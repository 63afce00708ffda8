"""Maze2D and Multi2D as Gymnasium environments, step for step the v1 tasks of D4RL (Fu et al. 2020).

Observation float64 [4]: x, y, vx, vy. Action float32 [2]: forces in [-1, 1]. Reward 1 while the point is
within 0.5 of the target, else 0. An episode never terminates; the registered environments are truncated at
the maze's cap of 300, 600 or 800 steps. Maze2D always aims at the `G` cell, Multi2D draws a new target at
every reset.
"""

import math
from typing import ClassVar

import numpy as np

from .layouts import LAYOUTS, Layout, layout_of
from .names import MAZE_FAMILIES, parse_maze
from .physics import DT, PointMass

try:
    import gymnasium
except ImportError as error:
    raise ImportError("Maze2D needs Gymnasium: pip install diffuser-fast[envs]") from error

GOAL_RADIUS = 0.5
JITTER = 0.1  # half-width of the uniform noise on start and target, and the deviation of the first velocity


class Maze2dEnv(gymnasium.Env):
    """A point mass that must reach, and stay near, `target`.

    layout: a `Layout`, or a name such as "umaze" or "maze2d-large-v1".
    random_target: draw the target at reset (Multi2D) instead of keeping it on the goal cell (Maze2D).
    render_mode: None or "rgb_array", drawn without OpenGL.

    Without Gymnasium's wrappers (that is, made by calling the class) nothing truncates: the cap is
    `max_episode_steps`.
    """

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": round(1 / DT)}

    def __init__(self, layout: Layout | str = "umaze", random_target: bool = False, render_mode: str | None = None):
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: found {render_mode!r}, expected None or 'rgb_array'")
        self.layout = layout_of(layout) if isinstance(layout, str) else layout
        self.random_target = random_target
        self.render_mode = render_mode
        self.max_episode_steps = self.layout.max_episode_steps
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.point = PointMass(self.layout)
        self.point.set_state(self.layout.default_goal, (0.0, 0.0))
        self.set_target(self.layout.default_goal)

    @property
    def target(self) -> np.ndarray:
        """The target's position, a copy, float64 [2]."""
        return np.array(self._target)

    def set_target(self, target=None) -> None:
        """Aim at `target` [2]; without an argument at a random free cell + U(-0.1, 0.1)."""
        if target is None:
            target = self._random_place()
        x, y = _finite("target", target, 2)
        self._target = (x, y)

    def set_state(self, qpos, qvel=(0.0, 0.0)) -> np.ndarray:
        """Put the point at qpos [2] with velocity qvel [2]; returns the observation."""
        self.point.set_state(_finite("qpos", qpos, 2), _finite("qvel", qvel, 2))
        return self.observation()

    def observation(self) -> np.ndarray:
        """x, y, vx, vy as a new float64 array [4]."""
        return np.concatenate((self.point.qpos, self.point.qvel))

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """A random free cell + U(-0.1, 0.1), velocity 0.1 N(0, 1), and for Multi2D a new target.

        Maze2D keeps its target, which is the goal cell until someone sets another. options: any of `qpos`,
        `qvel`, `target` (each [2]) sets that quantity instead. Its draw is made all the same, so what is not
        set does not depend on what is.
        """
        super().reset(seed=seed)
        options = options or {}
        unknown = sorted(set(options) - {"qpos", "qvel", "target"})
        if unknown:
            raise ValueError(f"options: found {unknown}, expected only 'qpos', 'qvel' and 'target'")
        place, velocity = self._random_place(), JITTER * self.np_random.standard_normal(2)
        if self.random_target:
            self.set_target()
        if "target" in options:
            self.set_target(options["target"])
        return self.set_state(options.get("qpos", place), options.get("qvel", velocity)), {}

    def step(self, action):
        """action [2], clipped to [-1, 1] -> (observation, reward, False, False, {"success": bool}).

        Raises ValueError for anything but two numbers, and for NaN.
        """
        try:
            ax, ay = map(float, action)
        except (TypeError, ValueError):
            ax = ay = math.nan
        if ax != ax or ay != ay:
            raise ValueError(f"action: found {action!r}, expected two numbers, not NaN")
        state = self.point.step(ax, ay)
        tx, ty = self._target
        success = math.hypot(state[0] - tx, state[1] - ty) <= GOAL_RADIUS
        return np.array(state), float(success), False, False, {"success": success}

    def render(self) -> np.ndarray | None:
        """The maze, the target and the point as uint8 [height, width, 3]; None without a render_mode."""
        if self.render_mode is None:
            return None
        from .raster import rasterise

        return rasterise(self.layout, target=self._target, point=self.point.qpos)

    def _random_place(self) -> np.ndarray:
        cells = self.layout.free_cells
        cell = cells[self.np_random.integers(len(cells))]
        return np.array(cell) + self.np_random.uniform(-JITTER, JITTER, 2)


def _finite(argument: str, value, size: int) -> list[float]:
    """`value` as a list of `size` finite floats, or a ValueError naming the argument."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (size,) or not np.isfinite(array).all():
        raise ValueError(f"{argument}: found {value!r}, expected {size} finite numbers")
    return array.tolist()


def register() -> None:
    """Tell Gymnasium about `diffuser_fast/{maze2d,multi2d}-{umaze,medium,large}-v1`, once."""
    for family in MAZE_FAMILIES:
        for layout in LAYOUTS.values():
            env_id = f"diffuser_fast/{family}-{layout.name}-v1"
            if env_id not in gymnasium.registry:
                gymnasium.register(
                    env_id,
                    entry_point="diffuser_fast.envs.maze2d:Maze2dEnv",
                    max_episode_steps=layout.max_episode_steps,
                    kwargs={"layout": layout.name, "random_target": family == "multi2d"},
                )


def make(env_id: str, render_mode: str | None = None) -> Maze2dEnv:
    """The bare environment of a name, without Gymnasium's wrappers: for loops that count their own steps."""
    name = parse_maze(env_id)
    return Maze2dEnv(LAYOUTS[name.variant], name.family == "multi2d", render_mode)
