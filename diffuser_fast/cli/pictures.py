"""Pictures of plans and rollouts in mazes: a PNG of denoising, a GIF of an episode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.whole_file import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..control.locomotion import BodyRollout
    from ..control.rollout import Rollout

# Shares of the denoising steps that are shown: order appears late.
SHOWN = (0, 0.5, 0.75, 0.875, 0.95, 1)


def denoising_picture(path: Path, env: str, chain: NDArray, target: NDArray, action_dim: int) -> Path:
    """From noise to plan over the maze: ``chain [R + 1, H, D]`` in physical units, at the rows of ``SHOWN``."""
    from ..envs import draw_maze, draw_path, layout_of

    rows = np.unique(np.round(np.array(SHOWN) * (len(chain) - 1)).astype(int))
    figure = _figure(len(rows), 3.0)
    layout = layout_of(env)
    for axes, row in zip(figure.axes, rows, strict=True):
        observations = chain[row, :, action_dim:]
        draw_maze(axes, layout, start=observations[0, :2], target=target)
        limits = axes.axis()
        draw_path(axes, observations)
        axes.axis(limits)  # early rows are noise that leaves the maze
        title = "noise" if row == 0 else "plan" if row == len(chain) - 1 else f"after {row} of {len(chain) - 1} steps"
        axes.set_title(title, fontsize=10)
    return _save(figure, path)


def plan_picture(path: Path, env: str, observations: NDArray) -> Path:
    """All plans ``[B, H, 4]`` over the maze, the best on top."""
    from ..envs import draw_maze, draw_paths, layout_of

    figure = _figure(1, 4.5)
    draw_maze(figure.axes[0], layout_of(env), start=observations[0, 0, :2], target=observations[0, -1, :2])
    draw_paths(figure.axes[0], observations)
    return _save(figure, path)


def rollout_film(path: Path, result: Rollout, episode: int, *, every: int = 4, fps: float = 25.0) -> Path:
    """One episode as a GIF: the plan it started with, where the point has been, where it is."""
    from ..envs import layout_of, rasterise, write_gif

    layout, seen = layout_of(result.env), result.observations[episode]
    frames = (
        rasterise(
            layout,
            path=result.plans[episode],
            trail=seen[: i + 1],
            start=seen[0, :2],
            point=seen[i, :2],
            target=result.targets[episode],
            cell=72,
        )
        for i in range(0, len(seen), every)
    )
    return write_gif(path, frames, fps=fps)


def body_film(path: Path, result: BodyRollout, *, every: int = 5, steps: int = 500, fps: float = 25.0) -> Path:
    """The first episode of a body as a GIF: at most ``steps`` steps, the plan ahead of the body in colours of time."""
    from ..envs import write_gif
    from ..envs.silhouette import film

    return write_gif(path, film(result.env, result.qpos, result.plans[:steps], every=every), fps=fps)


def _figure(panels: int, size: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install diffuser-fast[envs]") from error
    figure = Figure(figsize=(size * panels, size * 1.12), layout="constrained")
    for i in range(panels):
        figure.add_subplot(1, panels, i + 1)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path
