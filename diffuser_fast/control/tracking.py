"""Acting on a plan: a controller follows the planned states, not the planned actions, of which stacking has none.

In Maze2D, executing the diffused actions instead scores about a tenth (Janner et al. 2022, released code, follow the
states).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..envs.stacking import CONTACT, EFFECTOR, GRIPPER, YAW, Scene

# Of the point mass (envs/physics.py): a sphere of radius 0.1 and density 1000, damping 1, motors of gear 100, 10 ms.
MASS, DAMPING, GEAR, DT = 4 / 3 * np.pi * 0.1**3 * 1000, 1.0, 100.0, 0.01
POSITION_GAIN = 10.0  # that of the controller that made the data
# Of OGBench's arm, which is told where to be relative to where it is.
LOOK_AHEAD, GRIPPER_GAIN, HELD = 2, 3.0, 0.3


def waypoint_action(obs: NDArray, plan: NDArray, step: int) -> NDArray[np.float64]:
    """The paper's controller: force ``[E, 2]`` = (waypoint xy - xy) + (waypoint v - v), the waypoint one step ahead.

    obs: ``[E, 4]`` x, y, vx, vy; plan: ``[E, H, 4]``, planned at its step 0; step: how many steps ago that was. After
    the plan's end the waypoint is its last position, at rest. Physical units; the environment clips to [-1, 1].

    It is soft: it keeps up with a plan only by falling behind it first. That is fine for a plan that is followed to
    its end, and no good for plans that each begin where the point is.
    """
    waypoint, over = _waypoint(plan, step)
    if over:
        waypoint[:, 2:] = 0
    return (waypoint[:, :2] - obs[:, :2]) + (waypoint[:, 2:] - obs[:, 2:])


def inverse_dynamics_action(obs: NDArray, plan: NDArray, step: int) -> NDArray[np.float64]:
    """The force that takes the point mass to the next planned state, as far as one force can: for plans made anew.

    m dv/dt = gear * force - damping * v gives the planned velocity in one step (damping acts on the new velocity, as
    MuJoCo integrates it); what position is then still missing pulls like the data's own controller. Arguments as of
    ``waypoint_action``.
    """
    waypoint, over = _waypoint(plan, step)
    if over:  # hold the last position, as the data's controller would
        return POSITION_GAIN * (waypoint[:, :2] - obs[:, :2]) - obs[:, 2:]
    velocity = waypoint[:, 2:]
    force = (MASS * (velocity - obs[:, 2:]) / DT + DAMPING * velocity) / GEAR
    return force + POSITION_GAIN * (waypoint[:, :2] - obs[:, :2] - DT * velocity)


def _waypoint(plan: NDArray, step: int) -> tuple[NDArray[np.float64], bool]:
    """The planned states ``[E, 4]`` one step on, a copy, and whether the plan is over."""
    last = plan.shape[1] - 1
    return np.array(plan[:, min(step + 1, last)], np.float64), step + 1 > last


def effector_action(state: NDArray, plan: NDArray, step: int) -> NDArray[np.float64]:
    """Stacking's controller: the way ``[5]`` (x, y, z, yaw, gripper) to the effector's state LOOK_AHEAD steps on.

    state: ``[27]`` (envs/stacking.py); plan: ``[H, 27]``, planned at its step 0; step: how many steps ago that was.
    Metres and radians; the environment clips. The arm covers about half of the way it is told to in a step, hence two
    steps ahead. A gripper that is told to be where it is lets go: where force is planned on its fingers it closes.
    """
    aim = np.asarray(plan[min(step + LOOK_AHEAD, len(plan) - 1)], np.float64)
    (c, s), (aim_c, aim_s) = state[YAW], aim[YAW]
    turn = np.arctan2(aim_s * c - aim_c * s, aim_c * c + aim_s * s)
    grip = 1.0 if aim[CONTACT] > HELD else GRIPPER_GAIN * (aim[GRIPPER] - state[GRIPPER])
    return np.array((*(aim[EFFECTOR] - state[EFFECTOR]), turn, grip))


def follow(scene: Scene, state: NDArray, plan: NDArray) -> Iterator[NDArray[np.float64]]:
    """Follow a plan ``[H, 27]`` in the simulation from ``state [27]`` to its end: the state after each step.

    What is planned of cubes is not looked at.
    """
    for step in range(len(plan) - 1):
        state = scene.step(effector_action(state, plan, step))
        yield state
