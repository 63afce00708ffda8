"""The memory planner: one arena per group of trajectories, reused as values die; concat and slice cost nothing.

A buffer holds, for each of the n trajectories of a group, ``halo + H + halo`` times of ``ld`` floats, channels last:

    element (b, t, c) is at  n * offset + (b * (H + 2 * halo) + halo + t) * ld + channel + c

The times before and after are the convolution's zero padding: whoever writes a value zeroes them (its own channels).
Two values that are concatenated are written straight into the channels of the wider buffer; a slice reads some of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Program

ALIGN = 16  # floats: a cache line, and the widest vector


@dataclass(frozen=True)
class View:
    """Where a value lies: its buffer's offset, floats from one time to the next, and its first channel there."""

    offset: int
    ld: int
    channel: int


@dataclass(frozen=True)
class Arena:
    """views: one per value (None: the value is never made); size: floats per trajectory; halo: times of padding.

    aliases: numbers of the values that no op makes, being channels of another buffer (joined concats, slices).
    """

    views: tuple[View | None, ...]
    size: int
    halo: int
    aliases: frozenset[int]


def plan_memory(program: Program) -> Arena:
    """Assign every value its memory: greedy, best fit, largest lifetimes respected, inputs and outputs kept to the end.

    An op never writes where one of its own inputs lies, so engines need not think about aliasing.
    """
    halo = max((op.attrs["pad"] for op in program.ops if "pad" in op.attrs), default=0)
    # An adjoint reads (k - 1 - pad) times before its input.
    halo = max([halo, *(op.attrs["k"] - 1 - op.attrs["pad"] for op in program.ops if op.attrs.get("transposed"))])
    root, first, aliases = _join(program)
    width: dict[int, int] = {}
    for value, (channels, _) in enumerate(program.shapes):
        home = root[value]
        width[home] = max(width.get(home, 0), first[value] + channels)
    born, dies = _lifetimes(program, root)

    offsets, size = _allocate(
        {home: -(-width[home] // ALIGN) * ALIGN * (program.shapes[home][1] + 2 * halo) for home in born},
        born,
        dies,
    )
    views = tuple(
        View(offsets[root[v]], -(-width[root[v]] // ALIGN) * ALIGN, first[v]) if root[v] in offsets else None
        for v in range(len(program.shapes))
    )
    return Arena(views, size, halo, aliases)


def _join(program: Program) -> tuple[list[int], list[int], frozenset[int]]:
    """root[v]: the value whose buffer v lies in; first[v]: its first channel there; and the aliases."""
    n = len(program.shapes)
    root, first = list(range(n)), [0] * n
    made = {out: op for op in program.ops for out in op.outs}
    aliases = set()
    for op in program.ops:
        if op.kind == "slice":
            (x,), (out,) = op.ins, op.outs
            root[out], first[out] = x, op.attrs["lo"]
            aliases.add(out)
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
            first[y] = program.shapes[x][0]
            aliases.add(out)
    for v in range(n):  # a slice of a slice, or a slice of a joined value
        while root[root[v]] != root[v]:
            first[v] += first[root[v]]
            root[v] = root[root[v]]
    return root, first, frozenset(aliases)


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
