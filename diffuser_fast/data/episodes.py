"""Episodes: a stream cut into paths, holding the steps of those paths and nothing else.

Two ways of cutting, both Diffuser's (Janner et al. 2022, released code): at the recorded ends (locomotion),
and, for Maze2D's single unbroken stream, wherever the point leaves the environment's default goal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..core.arrays import as_numbers
from ..core.scalars import whole
from ..core.spelling import setting
from .fields import FIELDS, Choice
from .files import load_stream
from .stream import Stream

GOAL_RADIUS = 0.5


@dataclass(frozen=True, eq=False)
class Episodes:
    """P paths laid end to end, N = lengths.sum() steps. Normalisers are fitted to these arrays as they are.

    observations: float32 [N, O]; actions: float32 [N, A]; rewards: float32 [N];
    lengths: int64 [P], each at least 1; terminated: bool [P], the task ended the path, not a timeout;
    attributes, source, recorded: the stream's.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    attributes: Mapping[str, object] = field(default_factory=dict)
    source: str = "episodes"
    recorded: tuple[str, ...] = FIELDS

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [P]: the row at which each path begins."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def transitions(self) -> np.ndarray:
        """float32 [N, A + O], actions first, physical units; a new array."""
        return np.concatenate((self.actions, self.observations), axis=1)


def load_dataset(path, goal=None, *, fields: Choice | None = None, episode_steps: int | None = None) -> Episodes:
    """Read a data set (see `load_stream`, which takes `fields`) and cut it into paths.

    With a goal [2], given here or found in the file's attribute `default_goal` (files of `diffuser-fast data`
    have it), the Maze2D way (`split_at_goal`); otherwise at terminals and timeouts, or every `episode_steps`
    where no timeouts are recorded (`split_at_ends`). Errors name the file.
    """
    stream = load_stream(path, fields)
    if goal is None and "default_goal" not in stream.attributes:
        return split_at_ends(stream, episode_steps)
    return split_at_goal(stream, goal)


def split_at_ends(stream: Stream, episode_steps: int | None = None) -> Episodes:
    """Paths end at recorded terminals and timeouts; what follows the last of them is unfinished and dropped.

    episode_steps: the cap of an episode, for streams that record no timeouts: a path also ends after so many
    steps. Raises ValueError when the stream marks no end at all.
    """
    ends = np.flatnonzero(stream.terminals | stream.timeouts)
    if episode_steps is not None and not stream.timeouts.any():
        ends = _capped(ends, len(stream), whole("episode_steps", episode_steps, 1))
    if not len(ends):
        where, after = setting("goal", "(x, y)", "X,Y"), setting("episode_steps", "N", "N")
        field = setting("fields", "{'terminals': NAME}", "terminals=NAME")
        raise ValueError(
            f"{stream.source}: terminals, timeouts: found no step marked in either, expected at least one finished "
            f"path; {where} cuts a Maze2D stream at its maze's default goal, {after} others at their episodes' cap, "
            f"{field} names ends that are called otherwise"
        )
    starts = np.concatenate(([0], ends[:-1] + 1))
    return _gather(stream, starts, ends + 1, stream.terminals[ends])


def _capped(ends: np.ndarray, steps: int, cap: int) -> np.ndarray:
    """``ends`` and, between them and after the last, every ``cap``-th step."""
    starts = np.concatenate(([0], ends + 1))
    stops = np.append(ends + 1, steps)
    cuts = [np.arange(start + cap, stop + 1, cap) - 1 for start, stop in zip(starts, stops)]
    return np.unique(np.concatenate((ends, *cuts)))


def split_at_goal(stream: Stream, goal=None, radius: float = GOAL_RADIUS) -> Episodes:
    """Maze2D's paths: one ends wherever the point leaves the goal, near it at step i and not at step i + 1.

    The stretch before the first such i is a path too, the tail after the last one is dropped. Then each path
    loses its last step, as the original does to form next observations (a path of one step is lost
    altogether). Recorded terminals and timeouts are ignored.

    goal: [2] in physical units; None takes the stream's attribute `default_goal`. radius: how near is near
    (0.5 in the original, where the reward begins too). Raises ValueError when
    there is no goal or the point never leaves it.
    """
    if goal is None:
        if "default_goal" not in stream.attributes:
            cure = setting("goal", "(x, y)", "X,Y")
            raise ValueError(f"{stream.source}: goal: found None and no attribute 'default_goal', expected {cure}")
        goal = stream.attributes["default_goal"]
    goal = as_numbers("goal", goal, finite=False)
    if goal.shape != (2,) or not np.isfinite(goal).all():
        raise ValueError(f"{stream.source}: goal: found {goal.tolist()}, expected two finite numbers")
    if stream.observations.shape[1] < 2:
        raise ValueError(f"{stream.source}: observations: found 1 dimension, expected x and y first")
    near = np.linalg.norm(stream.observations[:, :2] - goal, axis=1) < radius
    ends = np.flatnonzero(near[:-1] & ~near[1:])
    starts = np.concatenate(([0], ends[:-1] + 1))[: len(ends)]
    kept = ends > starts
    if not kept.any():
        raise ValueError(
            f"{stream.source}: observations: found no path that leaves the goal {goal.tolist()} "
            f"by more than {radius}, expected at least one"
        )
    return _gather(stream, starts[kept], ends[kept], np.zeros(kept.sum(), bool))


def _gather(stream: Stream, starts: np.ndarray, stops: np.ndarray, terminated: np.ndarray) -> Episodes:
    """Copy rows starts[p]:stops[p] of every path p, in order."""
    edges = np.zeros(len(stream) + 1, dtype=np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, stops, -1)
    inside = np.cumsum(edges[:-1]) > 0
    return Episodes(
        observations=stream.observations[inside],
        actions=stream.actions[inside],
        rewards=stream.rewards[inside],
        lengths=(stops - starts).astype(np.int64),
        terminated=terminated,
        attributes=stream.attributes,
        source=stream.source,
        recorded=stream.recorded,
    )
