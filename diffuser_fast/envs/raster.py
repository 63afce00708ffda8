"""Small pictures of mazes with Pillow, quick enough for the frames of a GIF: no figure, no OpenGL.

    frames = [rasterise(env.layout, path=plan, trail=seen[:i], point=seen[i], target=env.target) for i in ...]
    write_gif("plan.gif", frames, fps=25)

Row and column of a pixel run along x and y, as in the text of a layout.
"""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..core.whole_file import whole_file
from . import colours
from .draw import path_array
from .layouts import CELL_CENTRE, Layout
from .physics import RADIUS

SUPERSAMPLE = 3  # drawn this many times larger, then averaged: Pillow's lines are not smooth by themselves


def rasterise(
    layout: Layout,
    *,
    path=None,
    paths=None,
    trail=None,
    start=None,
    target=None,
    point=None,
    alpha: float = 0.25,
    cell: int = 24,
) -> np.ndarray:
    """A picture of whatever is given, uint8 [rows * cell, columns * cell, 3]. From the bottom up:

    target [2]: a faint disc with the radius that earns the reward, and a dot above all lines;
    paths [B, H, 2 or more]: coloured by time, with opacity `alpha`, the first (a Planner's best) on top;
    path [H, 2 or more]: coloured by time, opaque;
    trail [n, 2 or more]: where the point has been, dark (fewer than two positions draw nothing);
    start [2]: a ring; point [2]: a ball of true size.
    """
    _, ImageDraw = import_pillow()
    scale = cell * SUPERSAMPLE
    image = _background(layout, scale).copy()
    draw = ImageDraw.Draw(image, "RGBA")

    def pixels(positions) -> list[tuple[float, float]]:
        return list(map(tuple, ((np.asarray(positions)[..., 1::-1] - CELL_CENTRE + 0.5) * scale).tolist()))

    def disc(centre, radius: float, **style) -> None:
        (column, row), r = pixels([centre])[0], radius * scale
        draw.ellipse((column - r, row - r, column + r, row + r), **style)

    width = max(1, round(0.09 * scale))
    if target is not None:
        disc(target, 0.5, fill=(*colours.TARGET, 40))
    layers = []
    if paths is not None:
        layers += [(one, round(255 * alpha)) for one in path_array("paths", paths, 3)[::-1]]
    if path is not None:
        layers += [(path_array("path", path, 2), 255)]
    for positions, opacity in layers:
        line = pixels(positions)
        for a, b, shade in zip(line, line[1:], colours.time_colours(len(line) - 1).tolist()):
            draw.line((a, b), fill=(*shade, opacity), width=width)
    if trail is not None and len(trail) > 1:
        draw.line(pixels(path_array("trail", trail, 2)), fill=colours.POINT, width=width // 2, joint="curve")
    if target is not None:
        disc(target, RADIUS, fill=colours.TARGET)
    if start is not None:
        disc(start, 1.4 * RADIUS, outline=colours.START, width=width // 2)
    if point is not None:
        disc(point, RADIUS, fill=colours.POINT)
    return np.asarray(image.reduce(SUPERSAMPLE))


def write_gif(path, frames: Iterable[np.ndarray], fps: float = 25.0) -> Path:
    """Write frames, uint8 [height, width, 3] each, as an endless GIF, whole or not at all; returns the path.

    GIF counts in hundredths of a second: fps is rounded to 100 / n. Raises ValueError without frames or for a
    wrong shape.
    """
    Image, _ = import_pillow()
    path, images = Path(path), []
    for i, frame in enumerate(frames):
        frame = np.asarray(frame)
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(
                f"frames: found {frame.dtype} {list(frame.shape)} at {i}, expected uint8 [height, width, 3]"
            )
        images.append(Image.fromarray(frame))
    if not images:
        raise ValueError("frames: found none, expected at least one")
    # One palette for all frames, from three of them: palettes that change make still walls flicker.
    palette = Image.fromarray(np.concatenate([images[i] for i in (0, len(images) // 2, -1)])).quantize(255)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    path.parent.mkdir(parents=True, exist_ok=True)
    duration = max(2, round(100 / fps)) * 10  # milliseconds; browsers slow down anything below 20
    with whole_file(path) as temporary:
        images[0].save(temporary, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)
    return path


@functools.lru_cache(maxsize=16)
def _background(layout: Layout, scale: int):
    Image, _ = import_pillow()
    cells = np.where(layout.walls[..., None], colours.WALL, colours.FLOOR).astype(np.uint8)
    rows, columns = layout.shape
    return Image.fromarray(cells).resize((columns * scale, rows * scale), Image.Resampling.NEAREST)


def import_pillow():
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise ImportError("pictures of mazes need Pillow: pip install diffuser-fast[envs]") from error
    return Image, ImageDraw
