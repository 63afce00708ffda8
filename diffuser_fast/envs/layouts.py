"""Maze layouts: cells as text and as arrays, and the three mazes of D4RL's Maze2D.

Two coordinate systems meet here. Cells are addressed by integers (row, column). The point's position q = (x,
y) runs along (row, column), but its body rests at 1.2 while wall (row, column) is centred at (row + 1, column
+ 1): the centre of a cell is at q = cell - 0.2, and cell w covers q in [w - 0.7, w + 0.3].
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import names

WALL, EMPTY, GOAL = "#", "O", "G"
CELL_CENTRE = -0.2  # q of a cell's centre, minus the cell's index


@dataclass(frozen=True)
class Layout:
    """A maze: equally long rows of `#` (wall), `O` (empty) and at most one `G` (goal); its cap in steps."""

    name: str
    rows: tuple[str, ...]
    max_episode_steps: int

    def __post_init__(self) -> None:
        if not self.rows or len({len(row) for row in self.rows}) != 1:
            raise ValueError(f"layout {self.name!r}: expected rows of one length, found {list(map(len, self.rows))}")
        odd = set("".join(self.rows)) - {WALL, EMPTY, GOAL}
        if odd:
            raise ValueError(f"layout {self.name!r}: found cells {sorted(odd)}, expected only '#', 'O' and 'G'")
        if sum(row.count(GOAL) for row in self.rows) > 1:
            raise ValueError(f"layout {self.name!r}: found more than one goal cell 'G', expected at most one")
        if not self.free_cells:
            raise ValueError(f"layout {self.name!r}: found no free cell, expected at least one 'O' or 'G'")

    @classmethod
    def from_string(cls, name: str, text: str, max_episode_steps: int) -> "Layout":
        """Rows separated by `/`."""
        return cls(name, tuple(text.split("/")), max_episode_steps)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns), walls included."""
        return len(self.rows), len(self.rows[0])

    @cached_property
    def walls(self) -> np.ndarray:
        """bool [rows, columns], True where a wall stands; read-only."""
        walls = np.array([[cell == WALL for cell in row] for row in self.rows])
        walls.flags.writeable = False
        return walls

    @cached_property
    def free_cells(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of every empty cell in reading order, then of the goal cell."""
        return self._cells(EMPTY) + self._cells(GOAL)

    @cached_property
    def goal_cell(self) -> tuple[int, int]:
        """(row, column) of `G`, or of the first empty cell where there is no `G`."""
        return (self._cells(GOAL) or self._cells(EMPTY))[0]

    @property
    def default_goal(self) -> np.ndarray:
        """The target [2] float64 of Maze2D, in q coordinates. D4RL puts it at the cell's index, 0.2 off the
        centre.
        """
        return np.array(self.goal_cell, dtype=np.float64)

    def _cells(self, kind: str) -> tuple[tuple[int, int], ...]:
        return tuple((w, h) for w, row in enumerate(self.rows) for h, cell in enumerate(row) if cell == kind)

    def is_free(self, cell: tuple[int, int]) -> bool:
        """Whether (row, column) lies inside the maze and is no wall."""
        w, h = cell
        return 0 <= w < len(self.rows) and 0 <= h < len(self.rows[0]) and self.rows[w][h] != WALL

    def cell_of(self, x: float, y: float) -> tuple[int, int]:
        """The cell that covers the point q = (x, y)."""
        return math.floor(x - CELL_CENTRE + 0.5), math.floor(y - CELL_CENTRE + 0.5)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout.from_string("umaze", "#####/#GOO#/###O#/#OOO#/#####", 300),
        Layout.from_string("medium", "########/#OO##OO#/#OO#OOO#/##OOO###/#OO#OOO#/#O#OO#O#/#OOO#OG#/########", 600),
        Layout.from_string(
            "large",
            "############/#OOOO#OOOOO#/#O##O#O#O#O#/#OOOOOO#OOO#/#O####O###O#/#OO#O#OOOOO#/"
            "##O#O#O#O###/#OO#OOO#OGO#/############",
            800,
        ),
    )
}


def layout_of(env_id: str) -> Layout:
    """The layout of `maze2d-umaze`, `diffuser_fast/multi2d-large-v1` or plainly `medium`, else ValueError."""
    return LAYOUTS[names.parse_maze(env_id).variant]
