"""Elementwise ops that no convolution carries: activation, its gradient, sum, step bias, FiLM, copy."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .act import act, act_slope
from .time_table import table_row


@triton.jit
def pointwise(
    x, other, table, sample_table, y,
    ROWS: tl.constexpr, H: tl.constexpr, C: tl.constexpr, LDX: tl.constexpr, LDO: tl.constexpr, LDT: tl.constexpr,
    LDS: tl.constexpr, LDY: tl.constexpr, MODE: tl.constexpr, ACT: tl.constexpr, BR: tl.constexpr, CP: tl.constexpr,
    EXACT: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Over ROWS = B * H rows of C channels, LD* apart; ``other`` is a value, tables as in time_table.py.

    MODE "copy": x. "act": act(x). "act_vjp": other * act'(x). "add": x + other. "bias": x + table[b, c].
    "film": x table[b, c] + table[b, C + c].
    Grid: (ceil(ROWS / BR), ceil(C / CP)).
    """
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    c = tl.program_id(1) * CP + tl.arange(0, CP)
    inside = (row < ROWS)[:, None] & (c < C)[None, :]
    v = tl.load(x + row[:, None] * LDX + c[None, :], mask=inside, other=0.0)
    if MODE == "act":
        v = act(v, ACT, EXACT)
    elif MODE == "bias":
        v += table_row(table, sample_table, row // H, c, c < C, inside, LDT, LDS)
    elif MODE == "film":
        v *= table_row(table, sample_table, row // H, c, c < C, inside, LDT, LDS)
        v += table_row(table, sample_table, row // H, C + c, c < C, inside, LDT, LDS)
    elif MODE != "copy":
        o = tl.load(other + row[:, None] * LDO + c[None, :], mask=inside, other=0.0)
        v = o * act_slope(v, ACT, EXACT) if MODE == "act_vjp" else v + o
    tl.store(y + row[:, None] * LDY + c[None, :], v, mask=inside)
