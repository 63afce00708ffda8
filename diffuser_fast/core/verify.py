"""What makes a Program (program.py) valid, checked whenever one is made: by hand, by a lowering, by a pass.

``verify`` raises ``ProgramError`` with the number of the op, what was found and what is expected. ``unsupported`` tells
which op of a valid program an engine does not have. C++ checks its own records again (csrc/cpu/verify.cc).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .ops import ATTRS, COLUMNS_READ, KINDS, Shape, conv_length


class ProgramError(ValueError):
    """A Program that means nothing."""


def verify(program) -> None:
    """ProgramError unless every op has its operands, attributes, weights and shapes, and every value is made once."""
    _verify_record(program)
    made = set(program.inputs.values())
    if len(made) != len(program.inputs):
        raise ProgramError(f"inputs: two names for one value in {dict(program.inputs)}")
    for n, op in enumerate(program.ops):
        try:
            _verify_op(program, op, made)
        except ProgramError as error:
            raise ProgramError(f"op {n} ({op.kind}): {error}") from None
        made |= set(op.outs)
    if missing := {name: v for name, v in program.outputs.items() if v not in made}:
        raise ProgramError(f"outputs: nothing makes {missing}")


def verify_op(op) -> None:
    """What can be said of an op by itself: its kind, how many operands, its attributes."""
    kind = KINDS.get(op.kind)
    if kind is None:
        raise ProgramError(f"found kind {op.kind!r}, expected one of {', '.join(KINDS)}")
    for name in ("ins", "weights", "outs"):
        (least, most), found = getattr(kind, name), getattr(op, name)
        if not least <= len(found) <= most:
            count = least if least == most else f"{least} to {most}"
            raise ProgramError(f"{op.kind} takes {count} {name}, found {len(found)}")
    if set(op.attrs) != set(kind.attrs):
        raise ProgramError(f"{op.kind} has attributes {', '.join(kind.attrs) or 'none'}, found {', '.join(op.attrs)}")
    for name, value in op.attrs.items():
        if wrong := ATTRS[name].wrong(value):
            raise ProgramError(f"{op.kind}: {name}: found {value!r}, {wrong}")


def _verify_record(program) -> None:
    for v, shape in enumerate(program.shapes):
        if len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
            raise ProgramError(f"value {v}: found shape {shape}, expected (channels, length), both positive")
    for name, shape in program.weights.items():
        if not shape or not all(type(n) is int and n > 0 for n in shape):
            raise ProgramError(f"weight {name!r}: found shape {shape}, expected positive whole numbers")
    if type(program.table_width) is not int or program.table_width < 0:
        raise ProgramError(f"table_width: found {program.table_width!r}, expected a whole number, at least 0")
    for what, named in (("inputs", program.inputs), ("outputs", program.outputs)):
        if not named or not all(_is_value(program, v) for v in named.values()):
            raise ProgramError(f"{what}: found {dict(named)}, expected names of values 0 .. {len(program.shapes) - 1}")


def _verify_op(program, op, made: set[int]) -> None:
    for v in (*op.ins, *op.outs):
        if not _is_value(program, v):
            raise ProgramError(f"value {v!r} is not one of 0 .. {len(program.shapes) - 1}")
    for v in op.ins:
        if v not in made:
            raise ProgramError(f"it reads value {v} before anything makes it")
    if len(set(op.outs)) != len(op.outs) or made & set(op.outs):
        raise ProgramError(f"it makes {op.outs}, and a value is made once")
    for name in op.weights:
        if name not in program.weights:
            raise ProgramError(f"its weight {name!r} is not one of the program's")
    _RULES[op.kind](
        op.attrs, [program.shapes[v] for v in op.ins], [program.shapes[v] for v in op.outs],
        [program.weights[name] for name in op.weights],
    )  # fmt: skip
    table = op.attrs.get("table", -1)
    if op.kind in ("step_bias", "film") and table < 0:
        raise ProgramError("table: found -1, expected a column")
    end = table + COLUMNS_READ.get(op.kind, 0) * program.shapes[op.outs[0]][0]
    if table >= 0 and end > program.table_width:
        raise ProgramError(f"it reads columns {table} .. {end - 1} of a table {program.table_width} wide")


def _is_value(program, v: object) -> bool:
    return type(v) is int and 0 <= v < len(program.shapes)


def _equal(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ProgramError(f"{what}: found {found}, expected {expected}")


def _conv(a: Mapping, ins: list[Shape], outs: list[Shape], weights: list[tuple[int, ...]]) -> None:
    (channels, length), (out_channels, out_length) = ins[0], outs[0]
    pair = (channels, out_channels) if a["transposed"] else (out_channels, channels)
    _equal("w", weights[0], (*pair, a["k"]))
    if len(weights) > 1:
        _equal("bias", weights[1], (out_channels,))
    usual = conv_length(length, a["k"], a["stride"], a["pad"], a["transposed"])
    longest = usual + (a["stride"] - 1 if a["transposed"] else 0)
    if not usual <= out_length <= longest or usual < 1 - (a["stride"] - 1) * a["transposed"]:
        span = f"{usual}" if usual == longest else f"{usual} to {longest}"
        raise ProgramError(f"output length: found {out_length}, expected {span}")
    if len(ins) > 1:
        _equal("r", ins[1], outs[0])


def _affine(a: Mapping, ins: list[Shape], outs: list[Shape], weights: list[tuple[int, ...]]) -> None:
    """What keeps its shape: norms, activations, their gradients."""
    for shape in (*ins, *outs):
        _equal("shape", shape, ins[0])
    for weight in weights:
        _equal("weight", weight, (ins[0][0],))
    if "groups" in a and ins[0][0] % a["groups"]:
        raise ProgramError(f"groups: {a['groups']} do not divide {ins[0][0]} channels")


def _conv_block(a: Mapping, ins: list[Shape], outs: list[Shape], weights: list[tuple[int, ...]]) -> None:
    _conv(a, ins, outs, weights[:2])
    _affine(a, outs, outs, weights[2:])


def _concat(a: Mapping, ins: list[Shape], outs: list[Shape], weights: list[tuple[int, ...]]) -> None:
    _equal("length", ins[1][1], ins[0][1])
    _equal("output", outs[0], (ins[0][0] + ins[1][0], ins[0][1]))


def _slice(a: Mapping, ins: list[Shape], outs: list[Shape], weights: list[tuple[int, ...]]) -> None:
    _equal("length", outs[0][1], ins[0][1])
    if a["lo"] + outs[0][0] > ins[0][0]:
        raise ProgramError(f"it takes channels {a['lo']} .. {a['lo'] + outs[0][0] - 1} of {ins[0][0]}")


def _attention(a: Mapping, ins: list[Shape], outs: list[Shape], weights: list[tuple[int, ...]]) -> None:
    channels, length = outs[0]
    _equal("qkv", ins[0], (3 * channels, length))
    if channels % a["heads"]:
        raise ProgramError(f"heads: {a['heads']} do not divide {channels} channels")


_RULES: dict[str, Callable] = dict.fromkeys(KINDS, _affine) | {
    "conv": _conv,
    "conv_block": _conv_block,
    "concat": _concat,
    "slice": _slice,
    "linear_attention": _attention,
}


@dataclass(frozen=True)
class Support:
    """What an engine has kernels for: kinds of op, activations, and a rule of its own (a sentence, or None).

    Every engine writes its own down: what core/ops.py gets tomorrow is refused until there is a kernel for it.
    """

    kinds: frozenset[str]
    acts: frozenset[str]
    rule: Callable[[Any, Any], str | None] = field(default=lambda op, program: None)


def unsupported(program, support: Support) -> str | None:
    """Which op of a program the engine lacks, in a sentence, or None if it has them all."""
    for n, op in enumerate(program.ops):
        if op.kind not in support.kinds:
            return f"op {n}: there is no kernel for {op.kind}"
        if (act := op.attrs.get("act")) is not None and act not in support.acts:
            return f"op {n} ({op.kind}): there is no kernel for the activation {act}"
        if reason := support.rule(op, program):
            return f"op {n} ({op.kind}): {reason}"
    return None
