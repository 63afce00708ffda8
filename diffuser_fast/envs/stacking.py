"""Four cubes and a robot arm: OGBench's cube-quadruple (Park et al. 2024), for the tasks of section 5.3 of the paper.

It is not the paper's Kuka domain: the arm is a UR5e with a Robotiq gripper, the simulator MuJoCo, and what is planned
are states of the effector and of the cubes, which a Cartesian controller follows (control/tracking.py).

A state, float64 [27], metres and radians:

    0:3   effector x, y, z        3:5  cosine and sine of its yaw
    5     gripper, 0 open, 1 closed (0.56 on a cube)           6  force on a finger, 0 to 1
    7 + 5 i : 12 + 5 i            cube i: x, y, z, cosine and sine of its yaw

An observation of the planner's, [47], says of cubes how far they are from where they were when the plan began, and
where that was, which is given at every time of a plan:

    7 + 5 i : 12 + 5 i            cube i: moved by x, y, z, cosine and sine of its turn
    27 + 5 i : 32 + 5 i           where it was: x, y, z, cosine and sine of its yaw

A cube that is left alone is five constants then.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CUBES, STATE_DIM, OBSERVATION_DIM = 4, 27, 47
CUBE = 0.04  # metres, an edge
EFFECTOR, YAW, GRIPPER, CONTACT = slice(0, 3), slice(3, 5), 5, 6
BOUNDS = np.array([[0.3, -0.3], [0.55, 0.3]])  # of cubes on the table, OGBench's
CLEARANCE = 0.09  # between towers: fingers go down beside a cube
MOST_YAW = np.pi / 4  # of the effector between two pick-and-places, so that no turn ever passes +-pi
ON_TOP = (0.03, 0.01)  # how far a stacked cube may be off: in the plane, and in height
PLACED = 0.04  # how far from its place a cube may be: OGBench's
SETTLE = 5  # steps until cubes that were set down rest


def position(cube: int) -> slice:
    """Where a state has the position of a cube, 0 to 3."""
    return slice(7 + 5 * cube, 10 + 5 * cube)


def positions(states: ArrayLike) -> NDArray[np.float64]:
    """States ``[..., 27]`` -> where the cubes are, ``[..., 4, 3]``."""
    states = np.asarray(states, np.float64)
    return states[..., 7:].reshape(*states.shape[:-1], CUBES, 5)[..., :3]


def below(state: ArrayLike) -> list[int | None]:
    """The cube that each cube stands on; None where that is the table, or nothing."""
    cubes, found = positions(state), []
    for top in cubes:
        on = [
            i
            for i, bottom in enumerate(cubes)
            if np.hypot(*(top - bottom)[:2]) < ON_TOP[0] and abs(top[2] - bottom[2] - CUBE) < ON_TOP[1]
        ]
        found.append(on[0] if on else None)
    return found


def tops(state: ArrayLike) -> list[int]:
    """The cubes that nothing stands on."""
    bearing = set(below(state))
    return [cube for cube in range(CUBES) if cube not in bearing]


def tallest(state: ArrayLike) -> int:
    """How many cubes the tallest tower has."""
    under = below(state)

    def height(cube: int) -> int:
        return 1 + (0 if under[cube] is None else height(under[cube]))

    return max(height(cube) for cube in range(CUBES))


def facing(states: ArrayLike) -> NDArray[np.float64]:
    """States ``[H, 27]`` with each cube's yaw by whole quarter turns, so that the first is within 45 degrees of 0.

    A cube looks the same after a quarter turn, so this is the same trajectory, and one of four ways to write it.
    """
    states = np.array(states, np.float64)
    for cube in range(CUBES):
        cosine, sine = (states[..., 10 + 5 * cube + i].copy() for i in (0, 1))
        first = np.arctan2(sine[0], cosine[0])
        turn = -np.pi / 2 * np.round(first / (np.pi / 2))
        states[:, 10 + 5 * cube] = np.cos(turn) * cosine - np.sin(turn) * sine
        states[:, 11 + 5 * cube] = np.sin(turn) * cosine + np.cos(turn) * sine
    return states


def observations(states: ArrayLike) -> NDArray[np.float64]:
    """States of one pick-and-place ``[H, 27]``, from its beginning -> observations ``[H, 47]``."""
    states = np.asarray(states, np.float64)
    cubes = states[:, 7:].reshape(len(states), CUBES, 5)
    (c, s), (c0, s0) = np.moveaxis(cubes[..., 3:], -1, 0), np.moveaxis(cubes[:1, :, 3:], -1, 0)
    turn = np.stack((c * c0 + s * s0, s * c0 - c * s0), -1)
    moved = np.concatenate((cubes[..., :3] - cubes[:1, :, :3], turn), -1).reshape(len(states), -1)
    return np.concatenate((states[:, :7], moved, np.repeat(states[:1, 7:], len(states), 0)), 1)


def states_of(observations: ArrayLike) -> NDArray[np.float64]:
    """The inverse: observations ``[H, 47]`` -> states ``[H, 27]``."""
    observations = np.asarray(observations, np.float64)
    moved, first = (observations[:, a:b].reshape(-1, CUBES, 5) for a, b in ((7, STATE_DIM), (STATE_DIM, None)))
    (c, s), (c0, s0) = np.moveaxis(moved[..., 3:], -1, 0), np.moveaxis(first[..., 3:], -1, 0)
    yaw = np.stack((c * c0 - s * s0, s * c0 + c * s0), -1)
    cubes = np.concatenate((moved[..., :3] + first[..., :3], yaw), -1)
    return np.concatenate((observations[:, :7], cubes.reshape(len(cubes), -1)), 1)


def free_place(rng: np.random.Generator, taken: ArrayLike) -> NDArray[np.float64]:
    """A place ``[3]`` for a cube on the table, clear of those at ``taken [n, 2 or 3]``."""
    while True:
        xy = rng.uniform(*BOUNDS)
        if all(np.hypot(*(other[:2] - xy)) > CLEARANCE for other in np.asarray(taken, np.float64)):
            return np.array((*xy, CUBE / 2))


class Scene:
    """OGBench's arm and cubes, begun from scenes of our own. A step takes 50 ms of simulated time."""

    def __init__(self) -> None:
        self.env = _make()
        self.env.reset(seed=0)

    def reset(self, rng: np.random.Generator, *, towers: bool = False) -> NDArray[np.float64]:
        """Cubes at random places on the table, with ``towers`` some of them on others; the arm above, at rest."""
        self.env.reset(seed=int(rng.integers(2**31)))
        self.observed()
        while abs(self.info["proprio/effector_yaw"][0]) > MOST_YAW:
            self.env.initialize_arm()
            self.observed()
        stacks: list[list[NDArray]] = []
        for cube in rng.permutation(CUBES):
            if stacks and towers and rng.random() < 0.4:
                stack = stacks[rng.integers(len(stacks))]
                place = stack[-1] + np.array((*rng.uniform(-0.005, 0.005, 2), CUBE))
                stack.append(place)
            else:
                place = free_place(rng, [stack[0] for stack in stacks])
                stacks.append([place])
            yaw = rng.uniform(-np.pi / 4, np.pi / 4)
            joint = self.env.data.joint(f"object_joint_{cube}")
            joint.qpos[:] = (*place, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
            joint.qvel[:] = 0
        for _ in range(SETTLE):
            self.step(np.array((0, 0, 0, 0, -1.0)))
        return self.state

    def step(self, action: ArrayLike) -> NDArray[np.float64]:
        """Do one step and return the state.

        action: ``[5]``, where the effector shall be relative to now: x, y, z, yaw, and the gripper. Clipped to
        OGBench's range: 5 cm, 0.3 radians, 1.
        """
        *_, self.info = self.env.step(self.env.normalize_action(np.asarray(action, np.float64)))
        return self.state

    def observed(self) -> NDArray[np.float64]:
        """The state, looked at again, for whoever has changed the simulation by hand."""
        self.info = self.env.compute_ob_info()
        return self.state

    @property
    def state(self) -> NDArray[np.float64]:
        """What is planned, ``[27]``."""
        info = self.info
        yaw = info["proprio/effector_yaw"][0]
        row = [*info["proprio/effector_pos"], np.cos(yaw), np.sin(yaw)]
        row += [info["proprio/gripper_opening"][0], info["proprio/gripper_contact"][0]]
        for cube in range(CUBES):
            yaw = info[f"privileged/block_{cube}_yaw"][0]
            row += [*info[f"privileged/block_{cube}_pos"], np.cos(yaw), np.sin(yaw)]
        return np.array(row)

    def snapshot(self) -> Callable[[], NDArray[np.float64]]:
        """A function that puts the simulation back to what it is now, and returns the state."""
        import mujoco

        model, data, kind = self.env.model, self.env.data, mujoco.mjtState.mjSTATE_INTEGRATION
        kept = np.zeros(mujoco.mj_stateSize(model, kind))
        mujoco.mj_getState(model, data, kept, kind)

        def back() -> NDArray[np.float64]:
            mujoco.mj_setState(model, data, kept, kind)
            mujoco.mj_forward(model, data)
            return self.observed()

        return back


def import_ogbench() -> tuple[Any, Any]:
    """OGBench's environment and oracle of cubes, or an ImportError that names the cure."""
    try:
        with warnings.catch_warnings():  # its renderer, which is not used, misses a display
            warnings.simplefilter("ignore")
            from ogbench.manipspace.envs.cube_env import CubeEnv
            from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle
    except ImportError as error:
        raise ImportError("stacking needs OGBench: pip install diffuser-fast[stacking]", name="ogbench") from error
    return CubeEnv, CubePlanOracle


def _make() -> Any:
    return import_ogbench()[0]("quadruple", mode="data_collection", terminate_at_goal=False, visualize_info=False)
