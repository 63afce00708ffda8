"""Pictures of the locomotion bodies in their plane, with Pillow: no OpenGL, so they can be made anywhere.

The bodies move in x and z only and are made of capsules, so a thick line per limb is the whole picture. A plan holds no
x: it is the sum of planned speeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import colours
from .locomotion import body_of, make_body
from .raster import SUPERSAMPLE, import_pillow

SKY, GROUND, MARK = (246, 245, 241), (222, 218, 208), (190, 184, 170)
HEIGHT = 2.0  # metres of a picture above the ground
BELOW = 0.25  # and below it
OPACITY = 0.35  # of what is only planned


class Silhouette:
    """Draws one body. env_id: any name of it (``hopper``, ``hopper-medium``, ...)."""

    def __init__(self, env_id: str) -> None:
        import mujoco

        self.body, self._env = body_of(env_id), make_body(env_id)
        self.dt = float(self._env.dt)  # seconds between two states
        self._model, self._kinematics = self._env.model, mujoco.mj_kinematics
        self._data = mujoco.MjData(self._model)
        kinds = self._model.geom_type
        capsule, sphere = int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_SPHERE)
        self._geoms = [g for g in range(self._model.ngeom) if kinds[g] in (capsule, sphere)]
        self._half = [self._model.geom_size[g, 1] if kinds[g] == capsule else 0.0 for g in self._geoms]
        self._radius = [self._model.geom_size[g, 0] for g in self._geoms]

    def limbs(self, qpos: ArrayLike) -> NDArray[np.float64]:
        """``[limbs, 5]``: x and z of both ends of each capsule's axis, and its radius, in metres."""
        self._data.qpos[:] = qpos
        self._kinematics(self._model, self._data)
        rows = []
        for g, half, radius in zip(self._geoms, self._half, self._radius):
            centre, axis = self._data.geom_xpos[g], self._data.geom_xmat[g].reshape(3, 3)[:, 2] * half
            rows.append((*(centre - axis)[[0, 2]], *(centre + axis)[[0, 2]], radius))
        return np.array(rows)

    def planned(self, qpos: ArrayLike, observations: ArrayLike) -> NDArray[np.float64]:
        """Positions ``[H, nq]`` of a plan ``[H, O]`` made at ``qpos [nq]``: observations are all but x, then speeds."""
        observations, nq = np.asarray(observations, np.float64), self.body.nq
        speeds = observations[:, nq - 1]
        x = np.asarray(qpos)[0] + self.dt * np.concatenate(([0.0], np.cumsum(speeds[1:])))
        return np.column_stack((x, observations[:, : nq - 1]))

    def picture(
        self, qpos: ArrayLike, *, ghosts: ArrayLike = (), width: int = 480, height: int = 270
    ) -> NDArray[np.uint8]:
        """uint8 ``[height, width, 3]``: the body at ``qpos [nq]``, the view moving along with it.

        ghosts: positions ``[n, nq]``, coloured by time from near to far, the nearest on top.
        """
        Image, ImageDraw = import_pillow()
        scale = SUPERSAMPLE * height / (HEIGHT + BELOW)
        left = float(np.asarray(qpos)[0]) - 0.4 * SUPERSAMPLE * width / scale
        image = _background(width * SUPERSAMPLE, height * SUPERSAMPLE, round(HEIGHT * scale)).copy()
        draw = ImageDraw.Draw(image, "RGBA")

        def pixel(x: float, z: float) -> tuple[float, float]:
            return (x - left) * scale, (HEIGHT - z) * scale

        def body(at: ArrayLike, colour: tuple[int, ...]) -> None:
            for x0, z0, x1, z1, radius in self.limbs(at).tolist():
                r, ends = radius * scale, (pixel(x0, z0), pixel(x1, z1))
                draw.line(ends, fill=colour, width=max(1, round(2 * r)))
                for column, row in ends:
                    draw.ellipse((column - r, row - r, column + r, row + r), fill=colour)

        for metre in range(int(left) - 1, int(left + SUPERSAMPLE * width / scale) + 2):  # marks that pass by
            column, row = pixel(metre, 0.0)
            draw.line(((column, row), (column, row + 0.1 * scale)), fill=MARK, width=SUPERSAMPLE)
        ghosts = np.asarray(ghosts, np.float64)
        for at, shade in zip(ghosts[::-1], colours.time_colours(len(ghosts))[::-1].tolist() if len(ghosts) else ()):
            # On a layer of its own: limbs that overlap would otherwise be darker where they do.
            layer = image.copy()
            draw = ImageDraw.Draw(layer, "RGBA")
            body(at, tuple(shade))
            image = Image.blend(image, layer, OPACITY)
            draw = ImageDraw.Draw(image, "RGBA")
        body(qpos, colours.POINT)
        return np.asarray(image.reduce(SUPERSAMPLE))


@lru_cache(maxsize=4)
def _background(width: int, height: int, ground: int):
    Image, ImageDraw = import_pillow()
    image = Image.new("RGB", (width, height), SKY)
    ImageDraw.Draw(image).rectangle((0, ground, width, height), fill=GROUND)
    return image


def film(
    env_id: str, qpos: NDArray, plans: NDArray, *, every: int, ghosts: int = 4, width: int = 480, height: int = 270
) -> Iterator[NDArray[np.uint8]]:
    """Frames of an episode: the body, and the plan it had, as ``ghosts`` positions up to the horizon.

    qpos: ``[T + 1, nq]``; plans: ``[T, H, O]``, made at each step; every: steps between two frames.
    """
    made = Silhouette(env_id)
    for i in range(0, len(plans), every):
        ahead = made.planned(qpos[i], plans[i])
        shown = np.unique(np.round(np.linspace(0, len(ahead) - 1, ghosts + 1)).astype(int))[1:]
        yield made.picture(qpos[i], ghosts=ahead[shown], width=width, height=height)
