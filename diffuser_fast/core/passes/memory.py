"""The memory planner: one arena per group of trajectories, reused as values die; concat and slice cost nothing.

A buffer holds, for each of the n trajectories of a group, H rows of ``ld`` floats, channels last:

    element (b, t, c) is at  n * offset + (b * H + t) * ld + channel + c

Two values that are concatenated are written straight into the columns of the wider buffer; a slice is a view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..program import Program

ALIGN = 16  # floats: a cache line, and the widest vector


@dataclass(frozen=True)
class View:
    """Where a value lies: its buffer's offset and row length in floats, and its first column there."""

    offset: int
    ld: int
    channel: int


@dataclass(frozen=True)
class Arena:
    """views: one per value (None: the value is never made); size: floats per trajectory.

    aliases: numbers of the values made by no op, being columns of another buffer (joined concats, slices).
    """

    views: tuple[View | None, ...]
    size: int
    aliases: frozenset[int]


def whole_lines(channels: int) -> int:
    """Floats from one row to the next, where rows begin at cache lines."""
    return -(-channels // ALIGN) * ALIGN


def plan_memory(
    program: Program, *, row: Callable[[int], int] = whole_lines, placed: Mapping[int, View] | None = None
) -> Arena:
    """Assign every value its memory. Inputs and outputs are kept from the first op to the last.

    An op never writes where one of its own inputs lies, so engines need not think about aliasing. row: channels of a
    buffer -> floats from one row to the next. placed: inputs that lie elsewhere, which take no room here.
    """
    placed = {} if placed is None else placed
    root, column, aliases = _join(program)
    width: dict[int, int] = {}
    for value, (channels, _) in enumerate(program.shapes):
        home = root[value]
        width[home] = max(width.get(home, 0), column[value] + channels)
    ld = {home: row(channels) for home, channels in width.items()}
    buffers = [
        Buffer(home, ld[home] * program.shapes[home][1], born, dies)
        for home, (born, dies) in _lifetimes(program, root).items()
        if home not in placed
    ]
    offsets, size = allocate(buffers) if buffers else ({}, 0)
    homes = {home: View(offset, ld[home], 0) for home, offset in offsets.items()} | dict(placed)
    views = tuple(
        replace(homes[root[v]], channel=homes[root[v]].channel + column[v]) if root[v] in homes else None
        for v in range(len(program.shapes))
    )
    return Arena(views, size, aliases)


def _join(program: Program) -> tuple[list[int], list[int], frozenset[int]]:
    """root[v]: the value whose buffer v lies in; column[v]: its first channel there."""
    n = len(program.shapes)
    root, column = list(range(n)), [0] * n
    made = {out: op for op in program.ops for out in op.outs}
    aliases = set()
    for op in program.ops:
        if op.kind == "slice":
            (x,), (out,) = op.ins, op.outs
            root[out], column[out] = x, op.attrs["lo"]
            aliases.add(out)
    for op in program.ops:
        if op.kind != "concat" or op.ins[0] == op.ins[1]:
            continue
        if all(root[i] == i and i in made and made[i].kind not in ("concat", "slice") for i in op.ins):
            (x, y), (out,) = op.ins, op.outs
            root[x] = root[y] = out
            column[y] = program.shapes[x][0]
            aliases.add(out)
    for v in range(n):  # a slice of a slice, or a slice of a joined value
        while root[root[v]] != root[v]:
            column[v] += column[root[v]]
            root[v] = root[root[v]]
    return root, column, frozenset(aliases)


def _lifetimes(program: Program, root: list[int]) -> dict[int, tuple[int, int]]:
    """First and last op (by index) at which each buffer is touched; inputs from the start, outputs to the end."""
    born, dies = {}, {}
    end = len(program.ops)
    for v in program.inputs.values():
        born[root[v]], dies[root[v]] = -1, end
    for n, op in enumerate(program.ops):
        for v in (*op.outs, *op.ins):
            born.setdefault(root[v], n)
            dies[root[v]] = max(dies.get(root[v], -1), n)
    for v in program.outputs.values():
        dies[root[v]] = end
    return {home: (born[home], dies[home]) for home in born}


@dataclass(frozen=True)
class Buffer:
    """Memory that is needed from op ``born`` to op ``dies``, both included."""

    home: int
    size: int
    born: int
    dies: int

    def meets(self, other: Buffer) -> bool:
        """Whether the two are needed at the same time."""
        return self.born <= other.dies and other.born <= self.dies


def least_size(buffers: Sequence[Buffer]) -> int:
    """What no allocation can go below: the most that is needed at one time."""
    return max(sum(b.size for b in buffers if b.born <= at <= b.dies) for at in {b.born for b in buffers})


def allocate(buffers: Sequence[Buffer]) -> tuple[dict[int, int], int]:
    """Offsets without overlap among buffers that meet, and the size of it all.

    Each buffer goes to the lowest gap that holds it, in three orders of which the best is kept: by size and by
    size times lifetime, the usual ones of this NP-hard problem, and by birth (Pisarchyk and Lee 2020, Efficient Memory
    Management for Deep Neural Net Inference).
    """
    least = least_size(buffers)
    best: tuple[dict[int, int], int] | None = None
    for order in (
        lambda b: (-b.size, b.born, b.home),
        lambda b: (-b.size * (b.dies - b.born + 1), b.born, b.home),
        lambda b: (b.born, -b.size, b.home),
    ):
        found = _first_fit(sorted(buffers, key=order))
        if best is None or found[1] < best[1]:
            best = found
        if best[1] == least:
            break
    return best


def _first_fit(buffers: Sequence[Buffer]) -> tuple[dict[int, int], int]:
    placed: list[tuple[int, int, Buffer]] = []  # (offset, end, buffer), by offset
    offsets: dict[int, int] = {}
    for buffer in buffers:
        at = 0
        for low, high, other in placed:
            if buffer.born <= other.dies and other.born <= buffer.dies:
                if low - at >= buffer.size:
                    break
                at = max(at, high)
        offsets[buffer.home] = at
        placed.append((at, at + buffer.size, buffer))
        placed.sort(key=lambda entry: entry[0])
    return offsets, max(end for _, end, _ in placed)
