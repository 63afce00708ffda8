"""A Program's ops put together into fusion groups: what one launch computes. No launch, no size, no device yet.

A convolution takes along the 1x1 convolution that makes its residual, the step bias after it, and the activation or the
gradient of a norm that reads its result: all of it computed from numbers that its program instances hold anyway. That
leaves one fusion group for each convolution, in a value network's gradient too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ...core.ops import CONVS
from ...core.program import Op, Program, Shape


@dataclass(frozen=True, eq=False)
class FusionGroup:
    """op: a convolution, or an op that stands alone. skip: the 1x1 convolution of its residual. bias: the step_bias
    after it. tail: an act, act_vjp or norm_act_vjp of its result. pre: the value before tail or norm, if it is kept.

    ``outs``, ``ins``, ``kind`` and ``attrs`` make a group look like one op to ``core.passes.plan_memory``.
    """

    op: Op
    outs: tuple[int, ...]
    ins: tuple[int, ...]
    skip: Op | None = None
    bias: Op | None = None
    tail: Op | None = None
    pre: int | None = None
    kind: ClassVar[str] = "fusion_group"
    attrs: dict = field(default_factory=dict)


@dataclass(frozen=True)
class GroupedProgram:
    """A Program in fusion groups: as much of one as ``core.passes.plan_memory`` reads."""

    ops: tuple[FusionGroup | Op, ...]
    shapes: tuple[Shape, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


def fusion_groups(program: Program) -> list[FusionGroup | Op]:
    """Fusion groups in order; slices and concatenations stay ops, since where values lie decides what they cost."""
    made = {out: n for n, op in enumerate(program.ops) for out in op.outs}
    readers = program.consumers()
    asked_for = set(program.outputs.values())
    taken: set[int] = set()
    found: dict[int, FusionGroup | Op] = {}

    def alone(value: int) -> Op | None:
        """The only reader of a value that is not asked for by others."""
        ops = readers.get(value, [])
        return ops[0] if len(ops) == 1 and value not in asked_for else None

    def there(values: tuple[int, ...], n: int) -> bool:
        return all(made.get(v, -1) < n for v in values)

    for n, op in enumerate(program.ops):
        if id(op) in taken or op.kind in ("slice", "concat"):
            found[n] = op
            continue
        if op.kind not in CONVS:
            found[n] = FusionGroup(op, op.outs, op.ins)
            continue
        skip = bias = tail = None
        if len(op.ins) == 2 and op.ins[0] != op.ins[1]:
            maker = program.ops[made[op.ins[1]]] if op.ins[1] in made else None
            if maker is not None and _is_matrix(maker) and alone(op.ins[1]) is op and id(maker) not in taken:
                skip = maker
        y, pre = op.outs[0], op.outs[1] if len(op.outs) == 2 else None
        if op.kind == "conv":
            after = alone(y)
            if after is not None and after.kind == "step_bias":
                bias, y = after, after.outs[0]
            tails = [r for r in readers.get(y, []) if _is_tail(r, y) and there(tuple(v for v in r.ins if v != y), n)]
            if tails:
                tail = tails[0]
                pre = None if alone(y) is tail else y
                y = tail.outs[0]
        taken |= {id(part) for part in (skip, bias, tail) if part is not None}
        residual = skip.ins if skip else op.ins[1:]
        others = tuple(v for v in tail.ins if v not in (pre, *op.outs, *(bias.outs if bias else ()))) if tail else ()
        outs = (y,) if pre is None else (y, pre)
        found[n] = FusionGroup(op, outs, tuple(dict.fromkeys((op.ins[0], *residual, *others))), skip, bias, tail, pre)
    heads = ((group.op if isinstance(group, FusionGroup) else group, group) for _, group in sorted(found.items()))
    return [group for head, group in heads if id(head) not in taken]


def _is_matrix(op: Op) -> bool:
    """A 1x1 convolution without a residual of its own."""
    a = op.attrs
    return op.kind == "conv" and len(op.ins) == 1 and (a["k"], a["stride"], a["pad"]) == (1, 1, 0)


def _is_tail(op: Op, value: int) -> bool:
    if op.kind == "act":
        return True
    return op.kind in ("act_vjp", "norm_act_vjp") and op.ins[1] == value and op.ins[0] != value
