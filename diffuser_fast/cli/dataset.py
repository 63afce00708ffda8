"""Options that say what a data set is, for the commands that read one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from .options import Listed, adds

if TYPE_CHECKING:
    from ..data import Episodes

LOCOMOTION_STEPS = 1000  # of an episode of any body, after which the original cuts data without timeouts


class Field(click.ParamType):
    """NAME=FOUND[,FOUND]: what the file calls one of our fields."""

    name = "NAME=FOUND"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, list[str]]:
        """Text -> (our name, the file's names)."""
        if isinstance(value, tuple):
            return value
        name, equals, found = value.partition("=")
        if not (name and equals and found):
            self.fail(f"found {value!r}, expected NAME=FOUND, such as observations=obs", param, ctx)
        return name, found.split(",")


dataset_options = adds(
    (
        click.option("--env", help="Its environment, such as maze2d-umaze or hopper. Default: what the data say."),
        click.option("--goal", type=Listed(float, "two numbers like 3,1"), metavar="X,Y",
                     help="A Maze2D stream: the default goal, where it is cut. Default: that of --env."),
        click.option("--episode-steps", type=click.IntRange(min=1), metavar="N",
                     help="Data without timeouts: an episode also ends after N steps. Default: that of --env."),
        click.option("--field", type=Field(), multiple=True, metavar="NAME=FOUND[,FOUND]",
                     help="What the data call observations, actions, rewards, terminals or timeouts; several are "
                     "joined: observations=object,robot0_eef_pos."),
    )
)  # fmt: skip


def read_dataset(
    path: str, env: str | None, goal: tuple[float, ...] | None, episode_steps: int | None, field: tuple[tuple, ...]
) -> Episodes:
    """The paths of a data set; what --env says of its environment fills in for what is not given."""
    from ..data import load_dataset

    if env is not None:
        known = _known(env)
        goal, episode_steps = goal or known["goal"], episode_steps or known["episode_steps"]
    try:
        episodes = load_dataset(path, goal, fields=dict(field), episode_steps=episode_steps)
    except ValueError as error:
        if "no step marked" in str(error) and env is None:
            raise ValueError(f"{error}; --env gives what D4RL's environments have") from None
        raise
    if env is None:
        return episodes
    return dataclasses.replace(episodes, attributes={**episodes.attributes, "env_id": env})


def _known(env: str) -> dict[str, Any]:
    """What the original takes from an environment to cut its data."""
    from ..envs import layout_of, names

    try:
        family = names.parse(env).family
    except ValueError:
        return {"goal": None, "episode_steps": None}  # somebody's own: there is nothing to know of it
    if family in names.MAZE_FAMILIES:
        return {"goal": tuple(layout_of(env).default_goal), "episode_steps": None}
    return {"goal": None, "episode_steps": LOCOMOTION_STEPS}
