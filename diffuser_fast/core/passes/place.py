"""Where each value lies: one arena per group of trajectories, reused as values die; concat and slice cost nothing.

A buffer holds, for each of the n trajectories of a group, ``halo + H + halo`` rows of ``ld`` floats, channels last:

    element (b, t, c) is at  n * offset + (b * (H + 2 * halo) + halo + t) * ld + channel + c

The rows before and after are the convolution's zero padding: whoever writes a value zeroes them (its own channels).
Two values that are concatenated are written straight into the columns of the wider buffer; a slice is a view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ops import OP_FIELDS, VALUE_FIELDS, op_row
from ..program import Program

ALIGN = 16  # floats: a cache line, and the widest vector


@dataclass(frozen=True)
class Place:
    """Where a value lies: its buffer's offset and row length in floats, and its first column there."""

    offset: int
    ld: int
    channel: int


@dataclass(frozen=True)
class Layout:
    """places: one per value (None: the value is never made); size: floats per trajectory; halo: rows of padding.

    views: numbers of the values made by no op, being columns of another buffer (joined concats, slices).
    """

    places: tuple[Place | None, ...]
    size: int
    halo: int
    views: frozenset[int]


def place(program: Program) -> Layout:
    """Assign every value its memory: greedy, best fit, largest lifetimes respected, inputs and outputs kept to the end.

    An op never writes where one of its own inputs lies, so engines need not think about aliasing.
    """
    halo = max((op.attrs["pad"] for op in program.ops if "pad" in op.attrs), default=0)
    # An adjoint reads (k - 1 - pad) rows before its input.
    halo = max([halo, *(op.attrs["k"] - 1 - op.attrs["pad"] for op in program.ops if op.attrs.get("transposed"))])
    root, column, views = _join(program)
    width: dict[int, int] = {}
    for value, (channels, _) in enumerate(program.shapes):
        home = root[value]
        width[home] = max(width.get(home, 0), column[value] + channels)
    born, dies = _lifetimes(program, root)

    offsets, size = _allocate(
        {home: -(-width[home] // ALIGN) * ALIGN * (program.shapes[home][1] + 2 * halo) for home in born},
        born,
        dies,
    )
    places = tuple(
        Place(offsets[root[v]], -(-width[root[v]] // ALIGN) * ALIGN, column[v]) if root[v] in offsets else None
        for v in range(len(program.shapes))
    )
    return Layout(places, size, halo, views)


def _join(program: Program) -> tuple[list[int], list[int], frozenset[int]]:
    """root[v]: the value whose buffer v lies in; column[v]: its first channel there."""
    n = len(program.shapes)
    root, column = list(range(n)), [0] * n
    made = {out: op for op in program.ops for out in op.outs}
    views = set()
    for op in program.ops:
        if op.kind == "slice":
            (x,), (out,) = op.ins, op.outs
            root[out], column[out] = x, op.attrs["lo"]
            views.add(out)
    for op in program.ops:
        if op.kind != "concat" or op.ins[0] == op.ins[1]:
            continue
        free = all(
            root[i] == i and i in made and made[i].kind not in ("concat", "slice") and i not in program.inputs
            for i in op.ins
        )
        if free:
            (x, y), (out,) = op.ins, op.outs
            root[x] = root[y] = out
            column[y] = program.shapes[x][0]
            views.add(out)
    for v in range(n):  # a slice of a slice, or a slice of a joined value
        while root[root[v]] != root[v]:
            column[v] += column[root[v]]
            root[v] = root[root[v]]
    return root, column, frozenset(views)


def _lifetimes(program: Program, root: list[int]) -> tuple[dict[int, int], dict[int, int]]:
    """First and last op (by index) at which each buffer is touched; inputs from the start, outputs to the end."""
    born, dies = {}, {}
    end = len(program.ops)
    for v in program.inputs:
        born[root[v]], dies[root[v]] = -1, end
    for n, op in enumerate(program.ops):
        for v in (*op.outs, *op.ins):
            born.setdefault(root[v], n)
            dies[root[v]] = max(dies.get(root[v], n), n)
    for v in program.outputs:
        dies[root[v]] = end
    return born, dies


def _allocate(sizes: dict[int, int], born: dict[int, int], dies: dict[int, int]) -> tuple[dict[int, int], int]:
    """Offsets without overlap among buffers alive together: in order of birth, each in the tightest gap that fits."""
    offsets: dict[int, int] = {}
    total = 0
    for home in sorted(sizes, key=lambda h: (born[h], -sizes[h])):
        alive = sorted(
            (offsets[o], offsets[o] + sizes[o]) for o in offsets if born[o] <= dies[home] and dies[o] >= born[home]
        )
        best, at = None, 0
        for low, high in [*alive, (total, total)]:
            gap = low - at
            if gap >= sizes[home] and (best is None or gap < best[0]):
                best = (gap, at)
            at = max(at, high)
        offsets[home] = best[1] if best else at
        total = max(total, offsets[home] + sizes[home])
    return offsets, total


@dataclass(frozen=True)
class Flat:
    """A Program and its Layout as C++ sees them: rows of int32 and a list of weight names."""

    ops: NDArray[np.int32]
    values: NDArray[np.int32]
    weights: tuple[str, ...]


def flat(program: Program, layout: Layout) -> Flat:
    """Rows of ``OP_FIELDS`` and ``VALUE_FIELDS``; weights are numbered in ``weights``; views have no op."""
    names = tuple(program.weights)
    number = {name: i for i, name in enumerate(names)}
    rows = []
    for op in program.ops:
        if op.outs[0] in layout.views:
            continue
        row = op_row(op)
        for field, name in zip(("w", "w2", "w3", "w4"), op.weights, strict=False):
            row[OP_FIELDS.index(field)] = number[name]
        rows.append(row)
    values = [
        [*shape, p.offset, p.ld, p.channel] if p else [*shape, -1, -1, -1]
        for shape, p in zip(program.shapes, layout.places, strict=True)
    ]
    ops = np.array(rows, np.int32).reshape(len(rows), len(OP_FIELDS))
    return Flat(ops, np.array(values, np.int32).reshape(len(values), len(VALUE_FIELDS)), names)
