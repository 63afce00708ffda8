"""Schedules of a plan that has to end in time: what may be run instead of all denoising steps, as rows of a StepTable.

The sampler's own rows come first. Every other row is a DDIM transition (Song et al. 2021, equation 12, eta = 0) from
one training step to another or to a clean plan: it needs abar of both and nothing else, so from wherever a plan stands
a few of them lead to its end. One that leads from noise to a clean plan at once is a finishing row: its result is x0 of
the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .samplers import StepTable

PATHS = (8, 6, 4, 3, 2, 1)  # rows of what may be run instead, from wherever a plan stands
# of the sampler's rows, chosen before a plan begins
PARTS = (7 / 8, 3 / 4, 5 / 8, 1 / 2, 3 / 8, 5 / 16, 1 / 4, 3 / 16, 1 / 8)
FINISH_FROM = 0.05  # least abar at which a network that predicts noise may finish: x0 is divided by its root


@dataclass(frozen=True)
class Choice:
    """A schedule that a plan may begin with. name: "full" or "strided". guide_steps: of all its rows."""

    rows: NDArray[np.int32]
    name: str
    guide_steps: int


@dataclass(frozen=True, eq=False)
class Menu:
    """``steps``: all rows, R' of them. ``choices``: best first, each cheaper than the one before.

    table_steps ``[R']``: which of ``seen`` (rows whose time embeddings all others share) a row's network sees.
    Paths as the engine reads them (csrc/api.h, df_schedule): those of row k, the longest first, are
    ``first_path[k]`` to ``first_path[k + 1] - 1``; path p is ``path_rows[path_at[p] : path_at[p + 1]]``.
    """

    steps: StepTable
    own: int
    choices: tuple[Choice, ...]
    seen: NDArray[np.int64]
    table_steps: NDArray[np.int32]
    first_path: NDArray[np.int32]
    path_at: NDArray[np.int32]
    path_rows: NDArray[np.int32]

    def finish(self, begun: Choice, ran: Sequence[int]) -> str:
        """What became of a plan: "full", "strided", "restrided", or "finishing" if its last row left out others."""
        if list(begun.rows) == list(ran):
            return begun.name
        return "finishing" if len(ran) == 1 or self.jumps[ran[-1]] else "restrided"

    @property
    def jumps(self) -> NDArray[np.bool_]:
        """``[R']``: rows that end a plan though training steps are left."""
        return (np.arange(self.steps.rows) >= self.own) & self.terminal & (self.steps.t > 0)

    @property
    def terminal(self) -> NDArray[np.bool_]:
        """``[R']``: rows after which a plan is clean."""
        found = self.steps.b == 0
        found[: self.own] = np.arange(self.own) == self.own - 1
        return found


def choice(steps: StepTable, rows: Sequence[int], name: str) -> Choice:
    """Of rows of the table."""
    along = np.array(rows, np.int32)
    return Choice(along, name, int(steps.guide_steps[along].sum()))


class _Rows:
    """Transitions by (from, to, guide steps), each made once. to: a training step, or -1, a clean plan."""

    def __init__(self, own: StepTable, path: Callable[[NDArray], StepTable]) -> None:
        self.tables, self.count, self.path = [own], own.rows, path
        self.found: dict[tuple[int, int, bool], int] = {}

    def along(self, t: NDArray, one: bool) -> list[int]:
        """The rows of a path through training steps. one: guided by one step each at the most."""
        made = self.path(t)
        if one:
            made = replace(made, guide_steps=np.minimum(made.guide_steps, 1))
        rows = []
        for k, step in enumerate(zip(t.tolist(), [*t[1:].tolist(), -1], strict=True)):
            key = (*step, one)
            if key not in self.found:
                self.found[key], self.count = self.count, self.count + 1
                self.tables.append(made.only([k]))
            rows.append(self.found[key])
        return rows


def menu(
    own: StepTable, ddim: Callable[[NDArray], StepTable], *, epsilon: bool, abar: NDArray, guide_steps: int = 0
) -> Menu:
    """The sampler's rows and what may stand for them.

    ddim: the rows, guided as the plan's, that lead through given training steps to a clean plan. epsilon: the network
    predicts noise. abar: ``[T]`` of the schedule. guide_steps: of a guided row.
    """
    rows, top = _Rows(own, ddim), int(own.t[0])
    begun = [list(range(own.rows))]
    lengths = sorted({max(1, round(part * own.rows)) for part in PARTS} | {*range(1, 5)}, reverse=True)
    lengths = [n for n in lengths if n < own.rows and n <= top + 1]
    several = guide_steps > 1
    middle = own.rows / 4 if several else 0  # from here on guide steps are given up first, then rows
    for one in (False, True)[: 1 + several]:
        for n in lengths:
            if (n >= middle or not several) if not one else n <= middle:
                grid = np.round(np.linspace(top, 0, n)).astype(np.int64)
                if not (n == 1 and epsilon and abar[top] < FINISH_FROM):
                    begun.append(rows.along(grid, one))
    paths = _paths(rows, own, epsilon, abar, several)
    steps = StepTable.joined(rows.tables)
    choices = (choice(steps, along, "strided" if n else "full") for n, along in enumerate(begun))
    first, at, flat = [0], [0], []
    for t in steps.t.tolist():
        for path in paths[t]:
            flat += path
            at.append(len(flat))
        first.append(len(at) - 1)
    seen, table_steps = np.unique(steps.t, return_index=True)[1], np.unique(steps.t, return_inverse=True)[1]
    arrays = (np.array(a, np.int32) for a in (table_steps, first, at, flat))
    return Menu(steps, own.rows, tuple(choices), seen, *arrays)


def _paths(rows: _Rows, own: StepTable, epsilon: bool, abar: NDArray, one: bool) -> dict[int, list[list[int]]]:
    """From every training step that a row begins at: rows to the end, longest first."""
    found: dict[int, list[list[int]]] = {}
    waiting = [*own.t.tolist(), *(int(table.t[0]) for table in rows.tables[1:])]
    while waiting:
        t = waiting.pop()
        if t in found:
            continue
        found[t] = []
        for n in PATHS:
            if n > t + 1 or (n == 1 and t > 0 and epsilon and abar[t] < FINISH_FROM):
                continue
            grid = np.round(np.linspace(t, 0, n)).astype(np.int64)
            found[t].append(rows.along(grid, one))
            waiting += grid.tolist()
    return found
