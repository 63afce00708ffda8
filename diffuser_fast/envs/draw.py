"""Pictures of mazes with matplotlib: walls, start, target, plans and trajectories, coloured by time.

    fig, ax = plt.subplots()
    draw_maze(ax, layout_of("maze2d-umaze"), start=obs[:2], target=env.target)
    draw_paths(ax, plans.observations)      # [B, H, 4], best first

The axes are in the environment's own coordinates, x (the first) downwards and y to the right as in the text
of a layout, so anything else is added with ax.plot(y, x).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import colours
from .layouts import CELL_CENTRE, Layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection


def draw_maze(ax: Axes, layout: Layout, *, start=None, target=None) -> None:
    """Walls and floor, a ring at `start` and a star at `target` ([2] each, or None), without ticks."""
    rows, columns = layout.shape
    edge = CELL_CENTRE - 0.5
    picture = np.where(layout.walls[..., None], colours.WALL, colours.FLOOR).astype(np.uint8)
    ax.imshow(picture, extent=(edge, edge + columns, edge + rows, edge), interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    if start is not None:
        x, y = np.asarray(start)[:2]
        ax.plot(y, x, "o", color=_unit(colours.START), markersize=9, fillstyle="none", markeredgewidth=2, zorder=4)
    if target is not None:
        x, y = np.asarray(target)[:2]
        ax.plot(y, x, "*", color=_unit(colours.TARGET), markersize=14, markeredgecolor="white", zorder=4)


def draw_path(ax: Axes, path, *, alpha: float = 1.0, width: float = 2.5) -> LineCollection:
    """One path [H, 2 or more] from blue (now) to red (the end), x and y first: a plan or a trajectory."""
    return draw_paths(ax, path_array("path", path, ndim=2)[None], alpha=alpha, best_alpha=alpha, width=width)


def draw_paths(ax: Axes, paths, *, alpha: float = 0.25, best_alpha: float = 1.0, width: float = 2.0) -> LineCollection:
    """Several paths [B, H, 2 or more]; the first, a Planner's best, is drawn on top with `best_alpha`."""
    from matplotlib.collections import LineCollection

    points = path_array("paths", paths, ndim=3)[::-1, :, 1::-1]  # worst first; matplotlib wants (y, x)
    plans, horizon = points.shape[:2]
    segments = np.stack((points[:, :-1], points[:, 1:]), axis=2).reshape(-1, 2, 2)
    shades = np.empty((plans, horizon - 1, 4))
    shades[..., :3] = colours.time_colours(horizon - 1) / 255.0
    shades[..., 3] = alpha
    shades[-1, :, 3] = best_alpha
    lines = LineCollection(segments, colors=shades.reshape(-1, 4), linewidths=width, capstyle="round", zorder=3)
    ax.add_collection(lines, autolim=False)
    return lines


def path_array(argument: str, value, ndim: int) -> np.ndarray:
    """`value` as float64 [..., H >= 2, 2]: the first two columns of [H, O] (ndim 2) or [B, H, O] (ndim 3).

    Raises ValueError, naming the argument, for other shapes and for non-finite numbers.
    """
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != ndim or 0 in array.shape or array.shape[-2] < 2 or array.shape[-1] < 2:
        expected = "[H, O]" if ndim == 2 else "[B, H, O]"
        raise ValueError(f"{argument}: found shape {list(array.shape)}, expected {expected} with H and O at least 2")
    if not np.isfinite(array[..., :2]).all():
        raise ValueError(f"{argument}: found NaN or infinity, expected finite positions")
    return array[..., :2]


def _unit(colour: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(channel / 255.0 for channel in colour)
