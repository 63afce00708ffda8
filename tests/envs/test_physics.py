"""The point mass against the update written out by hand, and against its walls."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from diffuser_fast.envs.layouts import LAYOUTS, Layout
from diffuser_fast.envs.physics import PointMass, mjcf

ROOM = Layout.from_string("room", "/".join(["#" * 12, *["#" + "O" * 10 + "#"] * 10, "#" * 12]), 100)
MASS = 4.18879020478639  # kg: 4/3 pi 0.1^3 1000


def euler(q, v, action):
    """One step in the open, one axis: clip the velocity, then semi-implicit Euler with implicit damping."""
    v = max(-5.0, min(5.0, v))
    v = (MASS * v + 0.01 * 100.0 * max(-1.0, min(1.0, action))) / (MASS + 0.01 * 1.0)
    return q + 0.01 * v, v


def test_model_is_d4rls():
    model = PointMass(LAYOUTS["umaze"]).model
    assert model.opt.timestep == 0.01 and model.opt.iterations == 20 and model.opt.integrator == 0
    assert not model.opt.gravity.any()
    assert model.dof_damping.tolist() == [1.0, 1.0]
    assert model.actuator_gear[:, 0].tolist() == [100.0, 100.0]
    assert model.actuator_ctrlrange.tolist() == [[-1.0, 1.0]] * 2
    assert model.body_mass[1] == pytest.approx(MASS, rel=1e-12)
    assert model.body_pos[1].tolist() == [1.2, 1.2, 0.0]
    assert (model.geom_friction == [0.5, 0.1, 0.1]).all() and (model.geom_condim == 1).all()
    walls = model.geom_type == 6
    assert walls.sum() == 25 - 7
    assert (model.geom_size[walls] == [0.5, 0.5, 0.2]).all()
    assert {tuple(p) for p in model.geom_pos[walls, :2].astype(int)} == {
        (w + 1, h + 1) for w, h in np.argwhere(LAYOUTS["umaze"].walls)
    }


def test_free_motion_is_damped_euler_to_rounding():
    point, rng = PointMass(ROOM), np.random.default_rng(0)
    point.set_state([5.0, 5.0], [0.3, -0.2])
    x, y, vx, vy = 5.0, 5.0, 0.3, -0.2
    for _ in range(60):
        ax, ay = rng.uniform(-1.5, 1.5, 2)  # beyond the range too: the action is clipped
        (x, vx), (y, vy) = euler(x, vx, ax), euler(y, vy, ay)
        assert point.step(ax, ay) == pytest.approx((x, y, vx, vy), abs=1e-12)


def test_straight_push_reaches_the_speed_limit():
    point = PointMass(ROOM)
    point.set_state([1.0, 5.0], [0.0, 0.0])
    x, v, speeds = 1.0, 0.0, []
    for _ in range(80):
        x, v = euler(x, v, 1.0)
        state = point.step(1.0, 0.0)
        assert state == pytest.approx((x, 5.0, v, 0.0), abs=1e-12)
        speeds.append(state[2])
    # Clipped before each step, so what is seen is one push beyond 5.
    assert max(speeds) == pytest.approx((MASS * 5.0 + 1.0) / (MASS + 0.01), abs=1e-12)


def test_actions_beyond_one_push_no_harder():
    states = []
    for action in ((1.0, -1.0), (7.0, -math.inf), (math.inf, -7.0)):
        point = PointMass(ROOM)
        point.set_state([5.0, 5.0], [0.0, 0.0])
        states.append(point.step(*action))
    assert states[0] == states[1] == states[2]


def test_velocity_is_clipped_before_the_step():
    states = []
    for velocity in ([5.0, -5.0], [50.0, -9.0]):
        point = PointMass(ROOM)
        point.set_state([5.0, 5.0], velocity)
        states.append(point.step(0.0, 0.0))
    assert states[0] == states[1]


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_walls_stop_the_point(direction):
    """Pushed for two seconds from the corner of U-Maze, it rests a radius from the wall."""
    point = PointMass(LAYOUTS["umaze"])
    point.set_state([0.8, 2.8], [0.0, 0.0])  # the centre of cell (1, 3)
    for _ in range(200):
        state = point.step(*direction)
    # Column 3 is free from cell 1 to 3 and row 1 too: the faces are those of cells 0 and 4.
    rest = {(1, 0): (3.2, 2.8), (-1, 0): (0.4, 2.8), (0, 1): (0.8, 3.2), (0, -1): (0.8, 0.4)}[direction]
    assert state[:2] == pytest.approx(rest, abs=0.01)
    assert state[2:] == pytest.approx((0.0, 0.0), abs=1e-3)


def test_contact_begins_at_the_margin():
    """D4RL's margin is 0.002 for a pair, whatever way this MuJoCo combines the margins of two geoms."""
    point = PointMass(LAYOUTS["umaze"])
    contacts = {}
    for gap in (0.0025, 0.0015):
        point.set_state([0.8, 3.2 - gap], [0.0, 0.0])
        point.step(0.0, 0.0)
        contacts[gap] = point.data.ncon
    assert contacts == {0.0025: 0, 0.0015: 1}
    assert point.data.contact[0].includemargin == 0.002


def test_set_state_forgets_the_past():
    """The solver starts from its last answer: an old contact would show in the last bits of a new one."""
    rng, used = np.random.default_rng(0), PointMass(LAYOUTS["umaze"])
    for _ in range(30):
        corner, velocity = [0.4, 3.2] + rng.uniform(-0.01, 0.01, 2), rng.normal(size=2)
        fresh = PointMass(LAYOUTS["umaze"])
        for point in (fresh, used):
            point.set_state(corner, velocity)
        for _ in range(10):
            assert fresh.step(-1.0, 1.0) == used.step(-1.0, 1.0)


def test_points_share_a_model_but_no_state():
    one, two = PointMass(ROOM), PointMass(ROOM)
    assert one.model is two.model
    one.set_state([3.0, 3.0], [1.0, 1.0])
    two.set_state([7.0, 7.0], [0.0, 0.0])
    one.step(1.0, 1.0)
    assert two.step(0.0, 0.0) == (7.0, 7.0, 0.0, 0.0)


def test_mjcf_has_a_box_per_wall():
    for layout in LAYOUTS.values():
        assert mjcf(layout).count('type="box"') == layout.walls.sum()


@pytest.mark.parametrize("chosen", ["osmesa", "egl", "glfw", "disable", ""])
def test_a_renderer_that_is_not_there_is_nobodys_loss(chosen):
    """Nothing here draws by OpenGL: whatever MUJOCO_GL asks for, an episode can be stepped, and it stays as it was."""
    code = (
        "import os\n"
        "from diffuser_fast.envs import make\n"
        "env = make('maze2d-umaze')\n"
        "env.reset(seed=0)\n"
        "print(env.step([1, 0])[0].shape, os.environ['MUJOCO_GL'])\n"
    )
    environment = {**os.environ, "MUJOCO_GL": chosen}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["(4,)", *([chosen] if chosen else [])]
