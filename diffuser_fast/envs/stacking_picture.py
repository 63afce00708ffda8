"""Pictures of stacking with Pillow, from states alone: what is planned is drawn as what is there. No OpenGL, no arm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import colours
from .raster import SUPERSAMPLE, import_pillow
from .stacking import CUBE, CUBES, EFFECTOR, GRIPPER, YAW, positions

SKY, TABLE, EDGE = (246, 245, 241), (222, 218, 208), (190, 184, 170)
CUBE_COLOURS = ((214, 40, 57), (70, 120, 200), (238, 170, 44), (60, 160, 80))
STEEL = (90, 96, 108)
TURN, TILT = np.radians(25), np.radians(28)  # of the eye: round the table, and above it
CENTRE, SPAN = np.array([0.425, 0.0, 0.1]), 0.82  # what is in the middle, and metres from left to right
RIGHT = np.array([-np.sin(TURN), np.cos(TURN), 0])
UP = np.array([-np.cos(TURN) * np.sin(TILT), -np.sin(TURN) * np.sin(TILT), np.cos(TILT)])
NEAR = np.cross(RIGHT, UP)  # towards the eye
FINGER = (0.006, 0.01, 0.03)  # half of each edge
FACES = [(axis, side) for axis in range(3) for side in (-1, 1)]


def picture(
    state: ArrayLike, plan: ArrayLike | None = None, *, width: int = 480, height: int = 320
) -> NDArray[np.uint8]:
    """uint8 ``[height, width, 3]``: cubes and gripper of ``state [27]``, seen in parallel projection.

    plan: ``[H, 27]``, its effector's way coloured by time, and where its cubes end, as outlines.
    """
    Image, ImageDraw = import_pillow()
    scale = SUPERSAMPLE * width / SPAN
    image = Image.new("RGB", (width * SUPERSAMPLE, height * SUPERSAMPLE), SKY)
    draw = ImageDraw.Draw(image, "RGBA")
    middle = np.array((image.width / 2, image.height / 2))

    def pixels(points: ArrayLike) -> list[tuple[float, float]]:
        seen = (np.asarray(points, np.float64) - CENTRE) @ np.stack((RIGHT, -UP), 1)
        return list(map(tuple, (seen * scale + middle).tolist()))

    def faces(centre: NDArray, half: ArrayLike, yaw: tuple[float, float]) -> Iterator[tuple[list, float]]:
        """Those that the eye sees, and how much light is on each."""
        turned = np.array([[yaw[0], yaw[1], 0], [-yaw[1], yaw[0], 0], [0, 0, 1]])  # rows: the box's axes
        for axis, side in FACES:
            if side * turned[axis] @ NEAR <= 0:
                continue
            a, b = (turned[(axis + k) % 3] * half[(axis + k) % 3] for k in (1, 2))
            middle = centre + side * turned[axis] * half[axis]
            light = 0.72 + 0.28 * float(side * turned[axis] @ (0.3, -0.2, 0.93))
            yield pixels([middle + a + b, middle + a - b, middle - a - b, middle - a + b]), light

    table = [[x, y, 0] for x, y in ((0.22, -0.36), (0.63, -0.36), (0.63, 0.36), (0.22, 0.36))]
    draw.polygon(pixels(table), fill=TABLE, outline=EDGE, width=SUPERSAMPLE)
    for centre, half, yaw, colour in sorted(_boxes(state), key=lambda box: float(box[0] @ NEAR)):
        for corners, light in faces(centre, half, yaw):
            draw.polygon(corners, fill=tuple(round(c * light) for c in colour))
    if plan is not None:
        plan = np.asarray(plan, np.float64)
        for centre, half, yaw, _ in _boxes(plan[-1])[:CUBES]:
            for corners, _ in faces(centre, half, yaw):
                draw.line((*corners, corners[0]), fill=(*colours.POINT, 150), width=SUPERSAMPLE)
        line = pixels(plan[:, EFFECTOR])
        for a, b, shade in zip(line, line[1:], colours.time_colours(len(line) - 1).tolist()):
            draw.line((a, b), fill=tuple(shade), width=2 * SUPERSAMPLE)
    return np.asarray(image.reduce(SUPERSAMPLE))


def film(states: NDArray, plans: NDArray, *, every: int = 3) -> Iterator[NDArray[np.uint8]]:
    """Frames of an episode, states ``[T + 1, 27]``, each with the one of ``plans [n, H, 27]`` that it followed."""
    for i in range(0, len(states), every):
        yield picture(states[i], plans[min(i // (plans.shape[1] - 1), len(plans) - 1)])


def _boxes(state: ArrayLike) -> list[tuple[NDArray, NDArray, tuple[float, float], tuple[int, int, int]]]:
    """Centre, half of each edge, cosine and sine of the yaw, and colour: the cubes, then two fingers and the hand."""
    state = np.asarray(state, np.float64)
    yaws = state[7 : 7 + 5 * CUBES].reshape(CUBES, 5)[:, 3:]
    edge = np.full(3, CUBE / 2)
    found = [(place, edge, tuple(yaw), colour) for place, yaw, colour in zip(positions(state), yaws, CUBE_COLOURS)]
    yaw = tuple(state[YAW])
    across = np.array((-yaw[1], yaw[0], 0))
    gap = 0.0425 - 0.04 * min(state[GRIPPER], 0.8) + FINGER[1]  # 85 mm when open
    for side in (-1, 1):
        found.append((state[EFFECTOR] + side * gap * across + (0, 0, 0.02), np.array(FINGER), yaw, STEEL))
    found.append((state[EFFECTOR] + (0, 0, 0.065), np.array((0.012, 0.055, 0.015)), yaw, STEEL))
    return found
