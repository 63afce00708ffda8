"""The stage: what is computed between two moments at which every thread waits for all others, as a row of int32.

A stage is a convolution with whatever its result passes through before it is stored, an op that stands alone, or what
happens to the trajectories between the networks. All of a stage is in its row, and nothing of a network is anywhere
else: one executor in Python (``executor.py``) and kernels that know no layer run the same rows.

    acc = conv(x, w) + bias [+ early residual] [+ step bias]   -> ``p``, if it is kept
    y   = tail(acc), a gradient's being taken at ``u``
    y   = y [+ step bias] [+ late residual]                    -> ``y``

A residual is ``r`` itself or its 1x1 convolution with ``skip_w``. A stage of another kind reads ``x`` and, where it has
two operands, ``r``: a norm's or an activation's gradient ``dy``, the other term of a sum. Of the trajectories' stages

    begin       y = x given, or the first noise, inpainted; p = dy, what the gradient programs begin with: ``scalar``
    guidance    y = y + gx x inpainted, x being the gradient
    update      y = a x0 + ... inpainted (core/loop.py), x being the network's result (read where q is not 0), r the
                gradient if g0 asks for it, u the previous x0, written too
    keep_value  x, one number, -> the plan's values
    finish      x -> the plan's x
    rank        the plan's values -> its order; of all trajectories
    load, store a program's input ``io`` -> y; x -> its output ``io`` (tests of one program)

An arena holds the trajectories of a group (``StageList.group``); all in it is float32, channels last. Of an operand a
row has its place and ``ld``:

    element (n, t, c) of a group's arena is at  place + (n * H + t) * ld + c

so that a value is one dense matrix of group * H rows. ``ld`` is 0 where there is no such operand. A row's other columns
may hold anything, NaN too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

from ...core.ops import ACTS
from ...core.passes import View


class Kind(IntEnum):
    """What a stage computes."""

    LOAD = 0
    STORE = 1
    CONV = 2
    NORM = 3
    CHANNEL_NORM = 4
    POINTWISE = 5
    ATTENTION = 6
    BEGIN = 7
    GUIDANCE = 8
    UPDATE = 9
    KEEP_VALUE = 10
    FINISH = 11
    RANK = 12


class Residual(IntEnum):
    """What is added to a convolution's sum, and when: before everything else, or at the very end."""

    NONE = 0
    EARLY_SAME = 1
    EARLY_CONV = 2
    LATE_SAME = 3
    LATE_CONV = 4


class Tail(IntEnum):
    """What a convolution's sum passes through, or what a norm or a pointwise stage does."""

    NONE = 0
    NORM_ACT = 1
    ACT = 2
    ACT_VJP = 3
    NORM_ACT_VJP = 4
    NORM = 5
    NORM_VJP = 6
    ADD = 7
    BIAS = 8
    FILM = 9
    COPY = 10


class Bias(IntEnum):
    """When a step bias is added."""

    NONE = 0
    BEFORE = 1
    AFTER = 2


class Flag(IntFlag):
    """Of an entry of the script."""

    FIRST = 1  # the first denoising step that is run
    LAST = 2


@dataclass(frozen=True)
class Stage:
    """One stage by names; ``row`` is the same as numbers, in the order of ``STAGE_FIELDS``.

    network: 0 the denoiser, 1 the guide: whose time-embedding tables it reads. x, y, r, u, p: views. ci, h_in: channels
    and times of x; co, h: of y; cr: channels of r. w, skip_w: numbers of convolutions' weights (``StageList``); bias,
    skip_bias, gamma, beta: places in its vectors; -1: none. table: the first column that it reads of the time-embedding
    tables, or -1. scalar: an attention's scale of queries, or what ``begin`` says. io: of load and store.
    name: for people.
    """

    kind: Kind
    network: int = 0
    x: View | None = None
    y: View | None = None
    r: View | None = None
    u: View | None = None
    p: View | None = None
    ci: int = 0
    h_in: int = 0
    co: int = 0
    h: int = 0
    cr: int = 0
    k: int = 1
    stride: int = 1
    pad: int = 0
    transposed: bool = False
    w: int = -1
    skip_w: int = -1
    bias: int = -1
    skip_bias: int = -1
    gamma: int = -1
    beta: int = -1
    residual: Residual = Residual.NONE
    tail: Tail = Tail.NONE
    act: int = -1
    groups: int = 1
    eps: float = 0.0
    table: int = -1
    bias_at: Bias = Bias.NONE
    heads: int = 1
    scalar: float = 0.0
    io: int = -1
    name: str = ""

    @property
    def cut(self) -> bool:
        """Whether the blocks of a cluster share it; what cannot be cut each of them computes (csrc/cuda/stage.cuh)."""
        return self.kind in (Kind.CONV, Kind.NORM, Kind.POINTWISE, Kind.ATTENTION)

    def row(self, group: int) -> list[int]:
        """The stage as int32, for arenas of so many trajectories."""
        found: list[int] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in VIEWS:
                found += (group * value.offset + value.channel, value.ld) if value else (0, 0)
            elif isinstance(value, float):
                found.append(struct.unpack("<i", struct.pack("<f", value))[0])
            elif field.name != "name":
                found.append(int(value))
        return found

    def reads(self) -> list[tuple[View, int, int]]:
        """What it reads of the arena: (view, channels, times)."""
        x, y = (self.x, self.ci, self.h_in), (self.y, self.co, self.h)
        r, u = (self.r, self.cr, self.h), (self.u, self.co, self.h)
        of = {Kind.BEGIN: (), Kind.LOAD: (), Kind.GUIDANCE: (x, y), Kind.UPDATE: (x, y, r, u)}
        return [one for one in of.get(self.kind, (x, r, u)) if one[0]]

    def writes(self) -> list[tuple[View, int, int]]:
        """What it writes there."""
        found = [(self.y, self.co, self.h)]
        if self.kind in (Kind.CONV, Kind.BEGIN):
            found.append((self.p, self.co, self.h) if self.kind == Kind.CONV else (self.p, 1, 1))
        if self.kind == Kind.UPDATE:
            found.append((self.u, self.co, self.h))
        return [one for one in found if one[0]]

    def __str__(self) -> str:
        sizes = f"{self.ci:4d}x{self.h_in:<4d}-> {self.co:4d}x{self.h:<4d}"
        words = [f"{self.kind.name.lower():12s} {self.name:24s} {sizes}"]
        if self.kind == Kind.CONV:
            words.append(f"k{self.k}" + f" stride {self.stride}" * (self.stride > 1) + " adjoint" * self.transposed)
        if self.residual:
            words.append(f"+ {self.residual.name.lower().replace('_', ' ')}")
        if self.tail:
            act = f" {ACTS[self.act]}" if self.act >= 0 else ""
            words.append(f"{self.tail.name.lower()}{act}" + f" G{self.groups}" * (self.gamma >= 0))
        if self.bias_at:
            words.append(f"step bias {self.table}")
        views = [(name, at) for name in VIEWS if (at := getattr(self, name))]
        places = " ".join(f"{name} {at.offset + at.channel}/{at.ld}" for name, at in views)
        return f"{' '.join(words):100s} {places}"


VIEWS = ("x", "y", "r", "u", "p")
STAGE_FIELDS = tuple(
    name
    for field in fields(Stage)
    if field.name != "name"
    for name in ([field.name, f"{field.name}_ld"] if field.name in VIEWS else [field.name])
)
SCRIPT_FIELDS = ("first", "count", "k", "flags")


@dataclass(frozen=True, eq=False)
class StageList:
    """All that an engine is given of a plan, or of one Program.

    stages; script: ``[m, len(SCRIPT_FIELDS)]``: which of them, how many in turn, in which denoising step, and flags.
    convolutions: (weights ``[out, in, k]``, or ``[in, out, k]`` if transposed; whether they are) by number; vectors:
    float32, one after another. arena: floats of one trajectory.
    """

    stages: tuple[Stage, ...]
    script: NDArray[np.int32]
    convolutions: tuple[tuple[NDArray, bool], ...]
    vectors: NDArray[np.float32]
    arena: int
    group: int = 1

    @property
    def rows(self) -> NDArray[np.int32]:
        """The stages as ``[n, len(STAGE_FIELDS)]``."""
        found = [stage.row(self.group) for stage in self.stages]
        return np.array(found, np.int32).reshape(len(found), len(STAGE_FIELDS))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the stages, for people."""
        return tuple(stage.name for stage in self.stages)

    def chain(self) -> Iterator[tuple[int, int, Stage]]:
        """Every stage of the script in turn: (denoising step, flags, stage)."""
        for first, count, k, flags in self.script.tolist():
            for stage in self.stages[first : first + count]:
                yield k, flags, stage


def enumerations() -> Mapping[str, Mapping[str, int]]:
    """The enumerations by name, for the header."""
    kinds = (Kind, Residual, Tail, Bias, Flag)
    return {kind.__name__: {m.name.lower(): m.value for m in kind} for kind in kinds}
