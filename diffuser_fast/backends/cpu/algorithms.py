"""How each convolution is done: decided here and nowhere else, written into the op's record, read by C++.

=============  ===============  ============================================================================
algorithm      precision        when
=============  ===============  ============================================================================
direct         float32          unless another suits; a tile of outputs stays in registers
dot_adjoint    float32          an adjoint with many weights reads its convolution's copy
winograd       float32-close    five taps, where enough tiles share the larger weights; int8: of what it leaves
packed_bf16    bf16             wide inputs; two channels a word; int8: of one tap
int8           int8             wide inputs, several taps; four channels a word
=============  ===============  ============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import IntEnum

from numpy.typing import NDArray

from ...core.ops import CONVS
from ...core.program import Op, Program
from .. import pack
from . import winograd


class Algorithm(IntEnum):
    """As in csrc/cpu/layout.gen.h."""

    DIRECT = 0
    DOT_ADJOINT = 1
    WINOGRAD = 2
    PACKED_BF16 = 3
    INT8 = 4


class Layout(IntEnum):
    """How a weight lies (backends/pack.py), as in csrc/cpu/layout.gen.h.

    VECTOR: one number per channel. FORWARD, TRANSPOSED: a convolution's ``[d, e, k]`` as ``[d/16, k, e, 16]``, or as
    ``[e/16, k, d, 16]``. WINOGRAD, WINOGRAD_SHORT: ``[out/16, point, in, 16]``. BF16: ``[out/16, k, in/2, 16]`` words.
    INT8: ``[out/16, k, in/4, 16]`` words, then ``[out/16, 1 + k, 16]`` numbers: scales, and each tap's sum.
    """

    VECTOR = 0
    FORWARD = 1
    TRANSPOSED = 2
    WINOGRAD = 3
    WINOGRAD_SHORT = 4
    BF16 = 5
    INT8 = 6


SHARED_FROM = 1 << 18  # floats: below, two copies of a weight stay in the cache, and the plain kernel is faster
WIDE = 32  # channels: narrower inputs stay in float32 under "bf16"
# Under "int8" narrower inputs are not of whole numbers, nor is what has one tap: few of the products, but narrow inputs
# made two thirds of the deviation of plans of the bundled hopper-medium, and single taps, which nothing normalises,
# half of what was left.
INT8_WIDE = 64
INT8_PRODUCTS = 1 << 16  # of a sum, at most: each is below 2^15, and a sum is of 32 bits


@dataclass(frozen=True)
class Packing:
    """What a packed weight is made by: its layout, and whether it is that of the transposed convolution."""

    layout: Layout
    transposed: bool = False


VECTOR = Packing(Layout.VECTOR)


def algorithm_of(
    op: Op, program: Program, weights: Mapping[str, NDArray], forward: Set[str], precision: str, batch: int
) -> Algorithm:
    """A convolution's algorithm. forward: the weights that are used by convolutions that are not transposed, too."""
    if precision == "int8" and _suits_int8(op, program):
        return Algorithm.INT8
    packs = precision == "bf16" or (precision == "int8" and op.attrs["k"] == 1)
    if packs and _suits_bf16(op, program):
        return Algorithm.PACKED_BF16
    if precision in ("float32-close", "int8") and winograd.suits(op, program, batch):
        return Algorithm.WINOGRAD
    name = op.weights[0]
    shares = op.kind == "conv" and op.attrs["transposed"] and len(op.weights) == 1 and name in forward
    return Algorithm.DOT_ADJOINT if shares and _worth_sharing(weights[name]) else Algorithm.DIRECT


def packing_of(op: Op, program: Program, algorithm: Algorithm) -> Packing:
    """How the algorithm wants a convolution's weights."""
    transposed = op.attrs["transposed"]
    match algorithm:
        case Algorithm.DIRECT:
            return Packing(Layout.TRANSPOSED if transposed else Layout.FORWARD, transposed)
        case Algorithm.DOT_ADJOINT:
            return Packing(Layout.FORWARD)
        case Algorithm.WINOGRAD:
            short = winograd.is_short(program.shapes[op.outs[0]][1])
            return Packing(Layout.WINOGRAD_SHORT if short else Layout.WINOGRAD, transposed)
        case Algorithm.PACKED_BF16:
            return Packing(Layout.BF16, transposed)
        case Algorithm.INT8:
            return Packing(Layout.INT8, transposed)


def packed(weight: NDArray, packing: Packing) -> NDArray:
    """A weight as ``packing`` says."""
    match packing.layout:
        case Layout.VECTOR:
            return pack.vector(weight)
        case Layout.FORWARD | Layout.TRANSPOSED:
            return pack.conv(weight, packing.transposed)
        case Layout.BF16:
            return pack.conv_bf16(weight, packing.transposed)
        case Layout.INT8:
            return pack.conv_int8(weight, packing.transposed)
        case Layout.WINOGRAD | Layout.WINOGRAD_SHORT:
            correlation = weight.transpose(1, 0, 2)[:, :, ::-1] if packing.transposed else weight
            return pack.conv(winograd.weights(correlation, packing.layout == Layout.WINOGRAD_SHORT), False)


def forward_weights(program: Program) -> set[str]:
    """The weights of a program's convolutions that are not transposed."""
    return {op.weights[0] for op in program.ops if op.kind in CONVS and not op.attrs["transposed"]}


def _suits_bf16(op: Op, program: Program) -> bool:
    """Trajectories themselves (the first convolutions' input) keep all their digits; channels come in pairs."""
    channels = program.shapes[op.ins[0]][0]
    return channels >= WIDE and channels % 2 == 0


def _suits_int8(op: Op, program: Program) -> bool:
    """The convolutions of blocks, those between lengths, and their adjoints; channels come in fours."""
    channels, k = program.shapes[op.ins[0]][0], op.attrs["k"]
    whole = channels % 4 == 0 and channels * k <= INT8_PRODUCTS
    return channels >= INT8_WIDE and whole and k > 1


def _worth_sharing(weight: NDArray) -> bool:
    """Whether an adjoint should read its convolution's own copy: a slower kernel, but half the memory to fetch."""
    return weight.size >= SHARED_FROM and weight.shape[1] % pack.BLOCK == 0
