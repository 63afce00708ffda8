"""The locomotion bodies of the paper, as Gymnasium's v5 environments.

They are not D4RL's, whose data was recorded in v2 on an older MuJoCo: in v5 Walker2d's feet have equal friction (one
had less), and the reward for being healthy is paid only while the body is healthy (Gymnasium's notes on v5). Returns of
the two are near each other, not equal; a D4RL-normalised score of a v5 episode is a ruler, not a row of the paper's
table.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from . import names

MAX_EPISODE_STEPS = 1000


@dataclass(frozen=True)
class Body:
    """env_id: Gymnasium's name. observation_dim, action_dim: O, A (actions in [-1, 1]). nq: positions in qpos."""

    env_id: str
    observation_dim: int
    action_dim: int
    nq: int


BODIES = {
    "halfcheetah": Body("HalfCheetah-v5", 17, 6, 9),
    "hopper": Body("Hopper-v5", 11, 3, 6),
    "walker2d": Body("Walker2d-v5", 17, 6, 9),
}


def is_locomotion(env_id: str) -> bool:
    """Whether a name is that of a body, with or without a data set: ``hopper``, ``hopper-medium-v2``, ..."""
    return names.parse(env_id).family in BODIES


def body_of(env_id: str) -> Body:
    """The body of a name in any spelling ``names.parse`` knows; ValueError for a maze or an unknown name."""
    family = names.parse(env_id).family
    if family not in BODIES:
        raise ValueError(f"env_id: found {env_id!r}, expected a body: {', '.join(BODIES)}")
    return BODIES[family]


def make_body(env_id: str, **options):
    """Gymnasium's bare environment of a body, for loops that count their own steps up to ``MAX_EPISODE_STEPS``.

    options: Gymnasium's own (``render_mode``, ``width``, ``height``, ...).
    """
    try:
        import gymnasium
        import gymnasium.envs.mujoco
        import mujoco
    except ImportError as error:
        raise ImportError("locomotion needs Gymnasium and MuJoCo: pip install diffuser-fast[envs]") from error
    except RuntimeError as error:
        raise ValueError(f"MuJoCo does not load: {error}") from None
    # MuJoCo 4 finds HalfCheetah's file old-fashioned, says so, and leaves a log in the working directory each time.
    mujoco.set_mju_user_warning(_unless_deprecated)
    try:
        return gymnasium.make(body_of(env_id).env_id, disable_env_checker=True, **options).unwrapped
    finally:
        mujoco.set_mju_user_warning(None)


def _unless_deprecated(text: str) -> None:
    if "deprecated" not in text:
        warnings.warn(f"MuJoCo: {text}", stacklevel=2)
