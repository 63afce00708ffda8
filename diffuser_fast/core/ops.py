"""The dozen kinds of op that every network of this family is made of: what each takes, and its record for C++.

A value is ``[B, C, H]`` in meaning; how it lies in memory is an engine's business. ``backends/reference.py`` says
what each op computes, ``verify.py`` what shapes it takes.

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
film               x                                            table
linear_attention   qkv                                          heads q_scale
group_norm_vjp     x, dy                 gamma                  groups eps
act_vjp            x, dy                                        act
conv_block         x[, r]                w, bias, gamma, beta   conv's, group_norm's, act, table
norm_act_vjp       u, dy                 gamma, beta            groups eps act
=================  ====================  =====================  ============================================

* conv: ``w`` is ``[out, in, k]``, or ``[in, out, k]`` when transposed: the adjoint of a conv is the same ``w`` with
  ``transposed`` flipped. The output length is the output's shape, written down, since strides make it ambiguous.
  ``r`` is added to the result. A dense layer over ``[C, H]`` is a conv with ``k = H`` and no padding.
* act: one of ``ACTS``; gelu is the exact one, ``x Phi(x)``; square, x^2, is for costs (cost_network.py).
* step_bias adds ``tables[step, table : table + C]``, one number per channel, chosen by the denoising step.
* film scales by ``tables[step, table : table + C]`` and then adds ``tables[step, table + C : table + 2 C]``.
* conv_block = conv, group_norm, act, then step_bias (unless ``table`` is -1), then ``+ r``. Its second output, if it
  has one, is the convolution's result u, which norm_act_vjp needs.
* norm_act_vjp: the gradient of act(group_norm(u)) with respect to u, given that of its result.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, int]  # (channels, length) of a value
ACTS = ("mish", "silu", "relu", "gelu", "square")
EPS = 1e-5  # of every normalisation in the original


@dataclass(frozen=True)
class Attr:
    """What an attribute may be: of ``type``; a number from ``low`` to ``high``; a name out of ``names``."""

    type: type
    low: float | None = None
    high: float | None = None
    names: tuple[str, ...] = ()

    def wrong(self, value: Any) -> str | None:
        """What is wrong with ``value``, or None."""
        if self.names:
            return None if value in self.names else f"expected one of {', '.join(self.names)}"
        if type(value) is not self.type or (self.type is float and not math.isfinite(value)):
            return f"expected a{'n' * (self.type is int)} {self.type.__name__}"
        if self.low is not None and value < self.low:
            return f"expected at least {self.low:g}"
        if self.high is not None and value > self.high:
            return f"expected at most {self.high:g}"
        return None


ATTRS: dict[str, Attr] = {
    # Far beyond any network: of k, stride and pad as in the C++ engine, of the others what 32 bits hold.
    "k": Attr(int, 1, 4096),
    "stride": Attr(int, 1, 4096),
    "pad": Attr(int, 0, 4096),
    "transposed": Attr(bool),
    "groups": Attr(int, 1, 2**24),
    "eps": Attr(float, 0, 1e30),
    "act": Attr(str, names=ACTS),
    "table": Attr(int, -1, 2**30),
    "lo": Attr(int, 0, 2**24),
    "heads": Attr(int, 1, 2**24),
    "q_scale": Attr(float, -1e30, 1e30),
}


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
    "film": Kind(14, (1, 1), attrs=("table",)),
}
CONVS = ("conv", "conv_block")
COLUMNS_READ = {"step_bias": 1, "conv_block": 1, "film": 2}  # of the step table, for each channel of the output

# One op as C++ sees it: a row of int32. Absent operands are -1; eps and q_scale are the bits of a float32. `algorithm`
# is an engine's own (backends/cpu/algorithms.py): how it does a convolution.
OP_FIELDS = (
    "opcode", "out", "out2", "in", "in2", "w", "w2", "w3", "w4",
    "k", "stride", "pad", "transposed", "groups", "eps", "act", "table", "lo", "heads", "q_scale", "algorithm",
)  # fmt: skip
# One value as C++ sees it (see passes/memory.py): where it lies in the arena of a group of trajectories.
VALUE_FIELDS = ("channels", "length", "offset", "ld", "channel")


def conv_length(length: int, k: int, stride: int, pad: int, transposed: bool) -> int:
    """Output length of a convolution over ``length`` steps (the usual one; an adjoint may need a few more)."""
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
    if op.kind in CONVS:
        positions = in_h if op.attrs["transposed"] else out_h
        return 2 * in_c * out_c * op.attrs["k"] * positions
    if op.kind == "linear_attention":
        return 4 * out_c * (out_c // op.attrs["heads"]) * out_h
    return out_c * out_h


def op_weight_bytes(op, weights: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes of float32 weights one op reads."""
    return 4 * sum(math.prod(weights[name]) for name in op.weights)


def op_row(op, weights: Mapping[str, int], algorithm: int = -1) -> list[int]:
    """One op as a row of ``OP_FIELDS``; weights: the number of each of its weights, by name."""
    row = dict.fromkeys(OP_FIELDS, -1)
    row["opcode"], row["algorithm"] = KINDS[op.kind].opcode, algorithm
    row.update(zip(("out", "out2"), op.outs, strict=False))
    row.update(zip(("in", "in2"), op.ins, strict=False))
    row.update(zip(("w", "w2", "w3", "w4"), (weights[name] for name in op.weights), strict=False))
    for name, value in op.attrs.items():
        if ATTRS[name].names:
            row[name] = ATTRS[name].names.index(value)
        elif ATTRS[name].type is float:
            row[name] = struct.unpack("<i", struct.pack("<f", value))[0]
        else:
            row[name] = int(value)
    return list(row.values())
