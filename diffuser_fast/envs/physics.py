"""The point mass of Maze2D in MuJoCo: a model made from a layout, stepped with plain floats.

One step is D4RL's: clip the action to [-1, 1], clip the velocity to [-5, 5], integrate 0.01 s once. In the
open that is
    v' = (m v + dt * 100 a) / (m + dt * 1)        (semi-implicit Euler with implicit damping)
    q' = q + dt v'
for the mass m of a sphere of radius 0.1 and density 1000.
"""

import functools
import importlib.util
import math
import os

import numpy as np

from .layouts import Layout

DT = 0.01  # seconds per step
RADIUS = 0.1  # of the sphere
GEAR = 100.0  # newtons at full action
DAMPING = 1.0  # newtons per unit of velocity
DENSITY = 1000.0
MASS = 4.0 / 3.0 * math.pi * RADIUS**3 * DENSITY
MAX_SPEED = 5.0  # per axis
BODY_OFFSET = 1.2  # world position of the body at q = 0
MARGIN = 0.002  # distance at which a contact begins to act

_XML = """
<mujoco model="maze2d">
  <compiler inertiafromgeom="true"/>
  <option timestep="{dt}" gravity="0 0 0" iterations="20" integrator="Euler"/>
  <default>
    <joint damping="{damping}" limited="false"/>
    <geom friction=".5 .1 .1" density="{density}" condim="1" contype="2" conaffinity="1"/>
  </default>
  <worldbody>
{walls}
    <body name="point" pos="{offset} {offset} 0">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <geom name="ball" type="sphere" size="{radius}" contype="1" margin="{margin}"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="x" gear="{gear}" ctrllimited="true" ctrlrange="-1 1"/>
    <motor joint="y" gear="{gear}" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""


def mjcf(layout: Layout) -> str:
    """The MJCF model of a maze: one box per wall cell, one sphere on two slide joints, two motors.

    D4RL gives every geom the margin 0.002 at a time when a pair took the larger of both. Newer releases of
    MuJoCo may combine them otherwise, so here the sphere alone carries it: the pair's margin is 0.002 either
    way.
    """
    walls = "\n".join(
        f'    <geom name="wall_{w}_{h}" type="box" size="0.5 0.5 0.2" pos="{w + 1} {h + 1} 0"/>'
        for w, h in np.argwhere(layout.walls).tolist()
    )
    return _XML.format(
        dt=DT,
        damping=DAMPING,
        density=DENSITY,
        walls=walls,
        offset=BODY_OFFSET,
        radius=RADIUS,
        margin=MARGIN,
        gear=GEAR,
    )


def import_mujoco():
    """The mujoco module, or an ImportError that names the cure.

    Nothing here draws by OpenGL, but MuJoCo opens what `MUJOCO_GL` names while it is imported: where that is not
    installed, it is imported without.
    """
    try:
        import mujoco
    except Exception as error:  # of whatever kind the OpenGL it found chose
        chosen = os.environ.get("MUJOCO_GL")
        if chosen is None or importlib.util.find_spec("mujoco") is None:
            raise ImportError("Maze2D needs MuJoCo: pip install diffuser-fast[envs]", name="mujoco") from error
        os.environ["MUJOCO_GL"] = "disable"
        try:
            import mujoco
        finally:
            os.environ["MUJOCO_GL"] = chosen
    return mujoco


@functools.lru_cache(maxsize=32)
def _model(layout: Layout):
    """The compiled model; steps only read it, so all points in one maze share it."""
    return import_mujoco().MjModel.from_xml_string(mjcf(layout))


class PointMass:
    """One point in one maze, floats in and floats out: the inner loop of recording and of rollouts.

    `qpos` and `qvel` are MuJoCo's own arrays, float64 [2] each; write through `set_state`.
    """

    def __init__(self, layout: Layout) -> None:
        mujoco = import_mujoco()
        self.layout = layout
        self.model = _model(layout)
        self.data = mujoco.MjData(self.model)
        self.qpos, self.qvel, self._ctrl = self.data.qpos, self.data.qvel, self.data.ctrl
        self._mj_step = mujoco.mj_step
        self._mj_reset = mujoco.mj_resetData

    def set_state(self, qpos, qvel) -> None:
        """Put the point at qpos [2] with velocity qvel [2]; forget all else, old contacts too."""
        self._mj_reset(self.model, self.data)
        self.qpos[:] = qpos
        self.qvel[:] = qvel

    def step(self, ax: float, ay: float) -> tuple[float, float, float, float]:
        """Apply the action (ax, ay), clipped to [-1, 1], for one step; returns the new (x, y, vx, vy)."""
        ctrl, qvel = self._ctrl, self.qvel
        ctrl[0], ctrl[1] = ax, ay  # MuJoCo clips them to the motors' range
        vx, vy = qvel.tolist()
        if not -MAX_SPEED <= vx <= MAX_SPEED:
            qvel[0] = math.copysign(MAX_SPEED, vx)
        if not -MAX_SPEED <= vy <= MAX_SPEED:
            qvel[1] = math.copysign(MAX_SPEED, vy)
        self._mj_step(self.model, self.data)
        return (*self.qpos.tolist(), *qvel.tolist())
