"""Environment names: one spelling inside, many accepted at the door.

`maze2d-umaze`, `maze2d-umaze-v1`, `diffuser_fast/maze2d-umaze-v1` and `Maze2D-UMaze-v1` are one environment.
A name has a family (what moves: `maze2d`, `multi2d`, `hopper`, ...) and a variant (which maze, or which data
set).
"""

import re
from typing import NamedTuple

MAZE_FAMILIES = ("maze2d", "multi2d")
MAZE_VARIANTS = ("umaze", "medium", "large")
LOCOMOTION_FAMILIES = ("halfcheetah", "hopper", "walker2d")
LOCOMOTION_VARIANTS = ("random", "medium", "medium-replay", "medium-expert", "full-replay", "expert")


class Name(NamedTuple):
    """A parsed environment name; `str(name)` is the short form, without namespace and version."""

    family: str
    variant: str  # "" for a locomotion body named without a data set

    def __str__(self) -> str:
        return f"{self.family}-{self.variant}" if self.variant else self.family


def known_names() -> list[str]:
    """Every name `parse` understands, in short form, a locomotion body once with its data sets in braces."""
    mazes = [f"{family}-{variant}" for family in MAZE_FAMILIES for variant in MAZE_VARIANTS]
    bodies = [f"{family}-{{{','.join(LOCOMOTION_VARIANTS)}}}" for family in LOCOMOTION_FAMILIES]
    return mazes + bodies


def parse(env_id: str) -> Name:
    """`env_id` -> Name. A namespace (`anything/`), a version (`-v1`) and capitals are ignored.

    Raises ValueError, listing the known names, for anything else.
    """
    if not isinstance(env_id, str):
        raise TypeError(f"env_id: found {type(env_id).__name__}, expected a string such as 'maze2d-umaze-v1'")
    short = re.sub(r"-v\d+$", "", env_id.rsplit("/", 1)[-1].strip().lower())
    family, _, variant = short.partition("-")
    if family in MAZE_FAMILIES and variant in MAZE_VARIANTS:
        return Name(family, variant)
    if family in LOCOMOTION_FAMILIES and variant in ("", *LOCOMOTION_VARIANTS):
        return Name(family, variant)
    raise ValueError(f"env_id: found {env_id!r}, expected one of: {', '.join(known_names())}")


def parse_maze(env_id: str) -> Name:
    """Like `parse`, for mazes only; a bare variant such as `umaze` means `maze2d-umaze`."""
    if isinstance(env_id, str) and env_id in MAZE_VARIANTS:
        return Name("maze2d", env_id)
    name = parse(env_id)
    if name.family not in MAZE_FAMILIES:
        mazes = ", ".join(f"{family}-{variant}" for family in MAZE_FAMILIES for variant in MAZE_VARIANTS)
        raise ValueError(f"env_id: found {env_id!r}, which is not a maze; expected one of: {mazes}")
    return name
