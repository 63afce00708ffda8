"""Pictures show what they are told, where it is."""

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from diffuser_fast.envs import colours
from diffuser_fast.envs.draw import draw_maze, draw_path, draw_paths
from diffuser_fast.envs.layouts import LAYOUTS
from diffuser_fast.envs.raster import rasterise, write_gif

UMAZE = LAYOUTS["umaze"]
CELL = 20
ROW = np.array([[0.8, 0.8], [0.8, 2.8]])  # from the centre of cell (1, 1) to that of (1, 3)


def pixel(frame, x, y):
    return tuple(frame[int((x + 0.7) * CELL), int((y + 0.7) * CELL)].tolist())


def axes():
    return matplotlib.figure.Figure().add_subplot()


def test_raster_paints_walls_and_floor_cell_by_cell():
    frame = rasterise(UMAZE, cell=CELL)
    assert frame.shape == (100, 100, 3) and frame.dtype == np.uint8
    for w in range(5):
        for h in range(5):
            expected = colours.WALL if UMAZE.walls[w, h] else colours.FLOOR
            assert pixel(frame, w - 0.2, h - 0.2) == expected


def test_raster_puts_everything_in_its_place():
    frame = rasterise(UMAZE, cell=CELL, target=[2.8, 2.8], point=[0.8, 0.8])
    assert pixel(frame, 2.8, 2.8) == colours.TARGET
    assert pixel(frame, 0.8, 0.8) == colours.POINT
    assert pixel(frame, 2.8, 2.45) not in (colours.FLOOR, colours.TARGET)  # the disc that earns the reward
    assert pixel(frame, 2.8, 0.8) == colours.FLOOR


def test_raster_colours_a_path_by_time():
    long = np.linspace(ROW[0], ROW[1], 101)
    frame = rasterise(UMAZE, cell=CELL, path=long)
    assert np.abs(np.subtract(pixel(frame, 0.8, 0.82), colours.TIME[0])).max() < 12
    assert np.abs(np.subtract(pixel(frame, 0.8, 2.78), colours.TIME[-1])).max() < 12
    assert np.abs(np.subtract(pixel(frame, 0.8, 1.8), colours.TIME[2])).max() < 12


def test_raster_draws_the_best_plan_on_top_and_others_faint():
    column = np.array([[0.8, 2.8], [2.8, 2.8]])
    both = rasterise(UMAZE, cell=CELL, paths=[ROW, column], path=ROW, alpha=0.25)
    assert pixel(both, 0.8, 1.8) == colours.TIME[0]  # two points have one colour, the first
    faint = np.array(pixel(both, 1.8, 2.8))
    expected = 0.75 * np.array(colours.FLOOR) + 0.25 * np.array(colours.TIME[0])
    assert np.abs(faint - expected).max() <= 2


def test_a_trail_of_no_or_one_position_draws_nothing():
    for trail in ([], np.zeros((1, 4))):
        assert (rasterise(UMAZE, trail=trail) == rasterise(UMAZE)).all()
    assert (rasterise(UMAZE, trail=ROW) != rasterise(UMAZE)).any()


def test_pictures_share_nothing():
    rasterise(UMAZE, point=[0.8, 0.8])
    assert pixel(rasterise(UMAZE, cell=CELL), 0.8, 0.8) == colours.FLOOR


def test_gif_holds_every_frame(tmp_path):
    spots = np.linspace(ROW[0], ROW[1], 7)
    path = write_gif(tmp_path / "new" / "a.gif", (rasterise(UMAZE, point=spot) for spot in spots), fps=20)
    with Image.open(path) as gif:
        assert gif.n_frames == 7 and gif.info["duration"] == 50 and gif.info["loop"] == 0
    assert [p.name for p in path.parent.iterdir()] == ["a.gif"]


def test_gif_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.gif"
    path.write_bytes(b"old")
    frame = rasterise(UMAZE)
    for frames in ([], [frame, frame[..., 0]], [frame / 255.0]):
        with pytest.raises(ValueError, match="frames: found"):
            write_gif(path, frames)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_matplotlib_axes_are_the_environments_coordinates():
    ax = axes()
    draw_maze(ax, UMAZE, start=[0.8, 0.8], target=[2.8, 2.8])
    picture = ax.images[0].get_array()
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right, bottom, top) == pytest.approx((-0.7, 4.3, 4.3, -0.7))
    assert (picture[2, 2] == colours.WALL).all() and (picture[1, 2] == colours.FLOOR).all()
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[0.8, 0.8]], [[2.8, 2.8]]]


def test_matplotlib_paths_run_y_across_and_the_best_is_last():
    ax = axes()
    paths = np.random.default_rng(0).normal(size=(3, 5, 4))
    lines = draw_paths(ax, paths, alpha=0.2, best_alpha=0.9)
    segments = np.array(lines.get_segments()).reshape(3, 4, 2, 2)
    assert np.allclose(segments[-1, 0, 0], paths[0, 0, [1, 0]])
    assert np.allclose(segments[0, -1, 1], paths[2, -1, [1, 0]])
    opacity = lines.get_colors()[:, 3].reshape(3, 4)
    assert (opacity[:2] == 0.2).all() and (opacity[2] == 0.9).all()
    assert len(draw_path(ax, paths[0]).get_segments()) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_path(axes(), np.zeros((3, 4, 2))), r"path: found shape \[3, 4, 2\], expected \[H, O\]"),
        (lambda: draw_paths(axes(), np.zeros((4, 2))), r"paths: found shape \[4, 2\], expected \[B, H, O\]"),
        (lambda: draw_path(axes(), np.full((4, 2), np.nan)), "path: found NaN"),
        (lambda: rasterise(UMAZE, path=np.zeros((4, 1))), r"path: found shape \[4, 1\]"),
        (lambda: rasterise(UMAZE, paths=np.zeros((4, 2))), r"paths: found shape \[4, 2\]"),
    ],
)
def test_wrong_paths_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_stacking_shows_cubes_a_gripper_and_a_plan():
    from envs.test_stacking import TOWER

    from diffuser_fast.envs.stacking_picture import CUBE_COLOURS, STEEL, film, picture

    state = TOWER.copy()
    state[:5], state[5] = (0.45, 0.0, 0.25, 1.0, 0.0), 0.1
    frame = picture(state, width=240, height=160)
    assert frame.shape == (160, 240, 3) and frame.dtype == np.uint8
    for colour in (*CUBE_COLOURS, STEEL):
        hue = frame / np.maximum(1, frame.max(-1, keepdims=True))
        near = np.abs(hue - np.array(colour) / max(colour)).max(-1) < 0.03
        assert (near & (frame.max(-1) > 0.5 * max(colour))).sum() > 10, colour
    plan = np.linspace(state, state + 0.1, 8)
    assert (picture(state, plan, width=240, height=160) != frame).any()
    assert len(list(film(np.stack([state] * 10), plan[None], every=4))) == 3
