"""Acting on a plan in Maze2D: the paper's controller follows the planned states, not the planned actions.

Janner et al. 2022, released code (maze2d): executing the diffused actions instead scores about a tenth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def waypoint_action(obs: NDArray, plan: NDArray, step: int) -> NDArray[np.float64]:
    """Force ``[E, 2]`` towards the next waypoint: (waypoint xy - xy) + (waypoint v - v).

    obs: ``[E, 4]`` x, y, vx, vy; plan: ``[E, H, 4]``, planned at its step 0; step: how many steps ago that was. After
    the plan's end the waypoint is its last position, at rest. Physical units; the environment clips to [-1, 1].
    """
    last = plan.shape[1] - 1
    waypoint = np.array(plan[:, min(step + 1, last)], np.float64)
    if step + 1 > last:
        waypoint[:, 2:] = 0
    return (waypoint[:, :2] - obs[:, :2]) + (waypoint[:, 2:] - obs[:, 2:])
