"""Elementwise ops that no convolution carries: activation, its gradient, sum, step bias, copy."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .mish import mish, mish_slope


@triton.jit
def pointwise(
    x, other, y,
    ROWS: tl.constexpr, C: tl.constexpr, LDX: tl.constexpr, LDO: tl.constexpr, LDY: tl.constexpr, MODE: tl.constexpr,
    BR: tl.constexpr, CP: tl.constexpr, EXACT: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Over ROWS = B * H rows of C channels, LD* apart; ``other`` is a value, or for "bias" one number per channel.

    MODE "copy": x. "act": mish(x). "act_vjp": other * mish'(x). "add": x + other. "bias": x + other[c].
    Grid: (ceil(ROWS / BR), ceil(C / CP)).
    """
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    row = (tl.program_id(0) * BR + tl.arange(0, BR))[:, None]
    c = (tl.program_id(1) * CP + tl.arange(0, CP))[None, :]
    inside = (row < ROWS) & (c < C)
    v = tl.load(x + row * LDX + c, mask=inside, other=0.0)
    if MODE == "act":
        v = mish(v, EXACT)
    elif MODE == "bias":
        v += tl.load(other + c, mask=c < C, other=0.0)
    elif MODE != "copy":
        o = tl.load(other + row * LDO + c, mask=inside, other=0.0)
        v = o * mish_slope(v, EXACT) if MODE == "act_vjp" else v + o
    tl.store(y + row * LDY + c, v, mask=inside)
