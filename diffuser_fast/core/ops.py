"""The dozen kinds of op that every network of this family is made of, and the names of their records for C++.

A value is ``[B, C, H]`` in meaning; how it lies in memory is an engine's business. ``backends/reference.py`` says
what each op computes; this file says what it takes.

=================  ====================  =====================  ============================================
kind               inputs                weights                attributes
=================  ====================  =====================  ============================================
conv               x[, r]                w[, bias]              k stride pad transposed
group_norm         x                     gamma, beta            groups eps
channel_norm       x                     gamma, beta            eps
act                x                                            act
add                x, y
concat             x, y
slice              x                                            lo
step_bias          x                                            table
linear_attention   qkv                                          heads q_scale
group_norm_vjp     x, dy                 gamma                  groups eps
act_vjp            x, dy                                        act
conv_block         x[, r]                w, bias, gamma, beta   conv's, group_norm's, act, table
norm_act_vjp       u, dy                 gamma, beta            groups eps act
=================  ====================  =====================  ============================================

* conv: ``w`` is ``[out, in, k]``, or ``[in, out, k]`` when transposed: the adjoint of a conv is the same ``w`` with
  ``transposed`` flipped. The output length is the output's shape, written down, since strides make it ambiguous.
  ``r`` is added to the result. A dense layer over ``[C, H]`` is a conv with ``k = H`` and no padding.
* step_bias adds ``tables[k, table : table + C]``, one number per channel, k the denoising step: from the time-embedding
  tables.
* conv_block = conv, group_norm, act, then step_bias (unless ``table`` is -1), then ``+ r``. Its second output, if it
  has one, is the convolution's result u, which norm_act_vjp needs.
* norm_act_vjp: the gradient of act(group_norm(u)) with respect to u, given that of its result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ACTS = ("mish",)
EPS = 1e-5  # of every normalisation in the original


@dataclass(frozen=True)
class Kind:
    """How many operands an op of this kind has (least, most) and which attributes."""

    opcode: int
    ins: tuple[int, int]
    weights: tuple[int, int] = (0, 0)
    outs: tuple[int, int] = (1, 1)
    attrs: tuple[str, ...] = ()


_CONV = ("k", "stride", "pad", "transposed")
_NORM = ("groups", "eps")
KINDS: dict[str, Kind] = {
    "conv": Kind(1, (1, 2), (1, 2), attrs=_CONV),
    "group_norm": Kind(2, (1, 1), (2, 2), attrs=_NORM),
    "channel_norm": Kind(3, (1, 1), (2, 2), attrs=("eps",)),
    "act": Kind(4, (1, 1), attrs=("act",)),
    "add": Kind(5, (2, 2)),
    "concat": Kind(6, (2, 2)),
    "slice": Kind(7, (1, 1), attrs=("lo",)),
    "step_bias": Kind(8, (1, 1), attrs=("table",)),
    "linear_attention": Kind(9, (1, 1), attrs=("heads", "q_scale")),
    "group_norm_vjp": Kind(10, (2, 2), (1, 1), attrs=_NORM),
    "act_vjp": Kind(11, (2, 2), attrs=("act",)),
    "conv_block": Kind(12, (1, 2), (4, 4), (1, 2), attrs=(*_CONV, *_NORM, "act", "table")),
    "norm_act_vjp": Kind(13, (2, 2), (2, 2), attrs=(*_NORM, "act")),
}

# One op as C++ sees it (passes/serialize.py): a record of int32 fields.
OP_FIELDS = (
    "opcode", "out", "out2", "in", "in2", "w", "w2", "w3", "w4",
    "k", "stride", "pad", "transposed", "groups", "eps", "act", "table", "lo", "heads", "q_scale",
)  # fmt: skip
# One value as C++ sees it: its shape and its View (passes/memory.py).
VALUE_FIELDS = ("channels", "length", "offset", "ld", "channel")


def conv_length(length: int, k: int, stride: int, pad: int, transposed: bool) -> int:
    """Output length of a convolution over ``length`` steps (the usual one; an adjoint may need one more)."""
    if transposed:
        return (length - 1) * stride - 2 * pad + k
    return (length + 2 * pad - k) // stride + 1


def op_flops(op, shapes) -> int:
    """Floating-point operations of one op for one trajectory, dense: multiply and add count as two.

    Convolutions count every tap, those that meet padding too; elementwise ops count the number of elements once
    per pass over them, which is small beside the convolutions and not meant to be exact.
    """
    out_c, out_h = shapes[op.outs[0]]
    in_c, in_h = shapes[op.ins[0]]
    if op.kind in ("conv", "conv_block"):
        positions = in_h if op.attrs["transposed"] else out_h
        return 2 * in_c * out_c * op.attrs["k"] * positions
    if op.kind == "linear_attention":
        return 4 * out_c * (out_c // op.attrs["heads"]) * out_h
    return out_c * out_h


def op_weight_bytes(op, weights) -> int:
    """Bytes of float32 weights one op reads."""
    return 4 * sum(math.prod(weights[name]) for name in op.weights)


def header() -> str:
    """The text of csrc/ops.gen.h: opcodes and record fields, so that no number is typed twice."""
    lines = [
        "// Written by `python -m diffuser_fast.core.ops > csrc/ops.gen.h`; a test compares the two.",
        "#pragma once",
        "",
        "namespace df {",
        "",
        "enum Opcode : int {",
        *(f"  {_camel(name)} = {kind.opcode}," for name, kind in KINDS.items()),
        "};",
        "",
        "enum OpField : int {",
        *(f"  kOp{_camel(name)[1:]} = {i}," for i, name in enumerate(OP_FIELDS)),
        f"  kOpFields = {len(OP_FIELDS)},",
        "};",
        "",
        "enum ValueField : int {",
        *(f"  kValue{_camel(name)[1:]} = {i}," for i, name in enumerate(VALUE_FIELDS)),
        f"  kValueFields = {len(VALUE_FIELDS)},",
        "};",
        "",
        "enum Act : int {",
        *(f"  kAct{_camel(name)[1:]} = {i}," for i, name in enumerate(ACTS)),
        "};",
        "",
        "}  // namespace df",
    ]
    return "\n".join(lines) + "\n"


def _camel(name: str) -> str:
    return "k" + "".join(part.capitalize() for part in name.split("_"))


if __name__ == "__main__":
    print(header(), end="")
