"""The three mazes against the text they come from, and the two coordinate systems against each other."""

import numpy as np
import pytest

from diffuser_fast.envs.layouts import CELL_CENTRE, LAYOUTS, Layout, layout_of

EXPECTED = {  # shape, free cells, goal cell, cap
    "umaze": ((5, 5), 7, (1, 1), 300),
    "medium": ((8, 8), 26, (6, 6), 600),
    "large": ((9, 12), 46, (7, 9), 800),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_mazes_of_d4rl(name):
    shape, free, goal, cap = EXPECTED[name]
    layout = LAYOUTS[name]
    assert layout.shape == shape
    assert len(layout.free_cells) == free == (~layout.walls).sum()
    assert layout.goal_cell == goal == layout.free_cells[-1]
    assert layout.default_goal.tolist() == list(goal)
    assert layout.max_episode_steps == cap
    border = np.ones(shape, bool)
    border[1:-1, 1:-1] = False
    assert layout.walls[border].all()


def test_umaze_walls_cell_by_cell():
    assert LAYOUTS["umaze"].walls.astype(int).tolist() == [
        [1, 1, 1, 1, 1],
        [1, 0, 0, 0, 1],
        [1, 1, 1, 0, 1],
        [1, 0, 0, 0, 1],
        [1, 1, 1, 1, 1],
    ]


def test_cell_of_inverts_the_cell_centre():
    layout = LAYOUTS["large"]
    for w, h in layout.free_cells:
        centre = np.array([w, h]) + CELL_CENTRE
        for corner in ([-0.49, -0.49], [0.49, 0.49], [-0.49, 0.49]):
            assert layout.cell_of(*(centre + corner)) == (w, h)
    assert layout.cell_of(1.31, 1.29) == (2, 1)


def test_is_free_knows_the_outside():
    layout = LAYOUTS["umaze"]
    assert layout.is_free((1, 1)) and layout.is_free((3, 3))
    assert not any(layout.is_free(cell) for cell in [(0, 0), (2, 2), (-1, 1), (1, -1), (5, 1), (1, 5)])


@pytest.mark.parametrize(
    "spelling", ["umaze", "maze2d-umaze", "maze2d-umaze-v1", "diffuser_fast/multi2d-umaze-v1", "Maze2D-UMaze"]
)
def test_layout_of_many_spellings(spelling):
    assert layout_of(spelling) is LAYOUTS["umaze"]


def test_without_a_goal_cell_the_first_empty_cell_is_the_goal():
    assert Layout.from_string("room", "####/#OO#/####", 10).goal_cell == (1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("###/#O", "rows of one length"),
        ("#X#", "found cells"),
        ("GG", "more than one goal"),
        ("##/##", "no free cell"),
    ],
)
def test_bad_layouts_say_why(text, message):
    with pytest.raises(ValueError, match=f"layout 'mine': .*{message}"):
        Layout.from_string("mine", text, 10)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"'maze2d-huge'.*maze2d-umaze.*multi2d-large"):
        layout_of("maze2d-huge")
    with pytest.raises(ValueError, match="'hopper-medium-v2', which is not a maze"):
        layout_of("hopper-medium-v2")
