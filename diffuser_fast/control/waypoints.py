"""The waypoint controller that recorded D4RL's Maze2D data: shortest cell paths, followed by a PD law."""

import math

import numpy as np

from ..envs.layouts import Layout

P_GAIN, D_GAIN = 10.0, -1.0
REACHED = 0.1  # distance at which a waypoint counts as reached
STILL = 0.1  # ... provided the point moved less than this since the last step
JITTER = 0.2  # every waypoint but the last is moved by -U(0, JITTER) per coordinate
SWEEPS, DISCOUNT = 50, 0.99
MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))  # in this order where several are equally short

Cell = tuple[int, int]


def cell_values(layout: Layout, target: Cell) -> np.ndarray:
    """Value iteration on the free cells, float64 [rows, columns].

    V(target) = 1, elsewhere V = 0.99 max V(neighbour): after 50 sweeps (as many as there are free cells, if
    that is more) V = 0.99^distance. Walls and cells out of reach have 0.
    """
    open_cells = np.pad(~layout.walls, 1)
    values = np.zeros(open_cells.shape)
    for _ in range(max(SWEEPS, len(layout.free_cells))):
        best = np.max([np.roll(values, (-w, -h), (0, 1)) for w, h in MOVES], axis=0)
        values = np.where(open_cells, DISCOUNT * best, 0.0)
        values[target[0] + 1, target[1] + 1] = 1.0
    return values[1:-1, 1:-1]


class WaypointController:
    """Steers one point through one maze. `aim` sets a target, `act` gives the next action.

    rng draws the jitter, at `aim`.
    """

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self.layout = layout
        self._rng = rng
        self._next_cells: dict[Cell, dict[Cell, Cell]] = {}  # target -> cell -> the cell to go to
        self._waypoints: list[tuple[float, float]] = []

    def path(self, start: Cell, target: Cell) -> list[Cell]:
        """Cells from after `start` to `target` inclusive, a shortest path; [target] where they are the same.

        Raises ValueError if `target` cannot be reached from `start`.
        """
        if target not in self._next_cells:
            self._next_cells[target] = self._greedy(target)
        next_cell, cells = self._next_cells[target], [start]
        while cells[-1] != target:
            if cells[-1] not in next_cell:
                raise ValueError(f"target: found cell {target}, which cannot be reached from cell {start}")
            cells.append(next_cell[cells[-1]])
        return cells[1:] or [target]

    def aim(self, x: float, y: float, target_x: float, target_y: float) -> None:
        """Plan from (x, y) to the cell nearest to the target; that cell's index is the last waypoint."""
        start = (round(x), round(y))
        if not self.layout.is_free(start):
            # Rounding is 0.2 off the cells' true borders: close to a wall it can name the wall.
            start = self.layout.cell_of(x, y)
        cells = self.path(start, (round(target_x), round(target_y)))
        jitter = self._rng.uniform(0.0, JITTER, (len(cells), 2))
        jitter[-1] = 0.0
        self._waypoints = [(w - dw, h - dh) for (w, h), (dw, dh) in zip(cells, jitter.tolist(), strict=True)]
        self._index = 0
        self._last = (x, y)

    def act(self, x: float, y: float, vx: float, vy: float) -> tuple[float, float, bool]:
        """(ax, ay, solved): a = clip(10 (waypoint - xy) - v, -1, 1), and whether the target is reached."""
        waypoints = self._waypoints
        still = math.hypot(x - self._last[0], y - self._last[1]) < STILL
        self._last = (x, y)
        gx, gy = waypoints[-1]
        solved = still and math.hypot(gx - x, gy - y) < REACHED
        wx, wy = (gx, gy) if solved else waypoints[self._index]
        if still and self._index < len(waypoints) - 1 and math.hypot(wx - x, wy - y) < REACHED:
            self._index += 1
        ax = P_GAIN * (wx - x) + D_GAIN * vx
        ay = P_GAIN * (wy - y) + D_GAIN * vy
        return max(-1.0, min(1.0, ax)), max(-1.0, min(1.0, ay)), solved

    def _greedy(self, target: Cell) -> dict[Cell, Cell]:
        values = cell_values(self.layout, target)
        out = {}
        for w, h in self.layout.free_cells:
            neighbours = [(w + dw, h + dh) for dw, dh in MOVES if self.layout.is_free((w + dw, h + dh))]
            best = max(neighbours, key=lambda cell: values[cell], default=None)
            if best is not None and values[best] > 0:
                out[w, h] = best
        return out
