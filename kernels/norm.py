"""Norms that no convolution carries: GroupNorm, its gradients, and LayerNorm over channels."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .group import group_norm_pullback, group_normalise, norm_act_pullback


@triton.jit
def group_norm(
    u, dy, gamma, beta, y,
    B: tl.constexpr, H: tl.constexpr, C: tl.constexpr, LDU: tl.constexpr, LDD: tl.constexpr, LDY: tl.constexpr,
    CG: tl.constexpr, CP: tl.constexpr, MODE: tl.constexpr, EPS: tl.constexpr, ACT: tl.constexpr, NB: tl.constexpr,
    HP: tl.constexpr, GB: tl.constexpr, EXACT: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """MODE "norm": GroupNorm of u. "norm_vjp": its gradient at u given dy. "norm_act_vjp": that of act(group_norm).

    Values ``[B, H, C]``, rows LD* apart. Grid: (ceil(B / NB), ceil(groups / GB)).
    """
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    N: tl.constexpr = GB * CP
    i = tl.arange(0, NB * HP)
    b = tl.program_id(0) * NB + i // HP
    h = i % HP
    n = tl.program_id(1) * N + tl.arange(0, N)
    c = (n // CP) * CG + n % CP
    columns = (n % CP < CG) & (c < C)
    inside = ((b < B) & (h < H))[:, None] & columns[None, :]
    row = (b * H + h)[:, None]
    at = tl.load(u + row * LDU + c[None, :], mask=inside, other=0.0)
    scale = tl.load(gamma + c, mask=columns, other=0.0)[None, :]
    if MODE != "norm":
        d = tl.load(dy + row * LDD + c[None, :], mask=inside, other=0.0)
    if MODE == "norm_act_vjp":
        shift = tl.load(beta + c, mask=columns, other=0.0)[None, :]
        out = norm_act_pullback(at, scale, shift, d, inside, EPS, ACT, EXACT, H * CG, NB, HP, GB, CP)
    else:
        normal, r = group_normalise(at, inside, EPS, H * CG, NB, HP, GB, CP)
        if MODE == "norm":
            out = normal * scale + tl.load(beta + c, mask=columns, other=0.0)[None, :]
        else:
            out = group_norm_pullback(normal, r, scale, d, inside, H * CG, NB, HP, GB, CP)
    tl.store(y + row * LDY + c[None, :], out, mask=inside)


@triton.jit
def channel_norm(
    x, gamma, beta, y,
    ROWS: tl.constexpr, C: tl.constexpr, LDX: tl.constexpr, LDY: tl.constexpr, EPS: tl.constexpr,
    BR: tl.constexpr, CP: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """LayerNorm over the channels of each of ROWS = B * H rows (Ba et al. 2016). Grid: (ceil(ROWS / BR),)."""
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    c = tl.arange(0, CP)
    inside = (row < ROWS)[:, None] & (c < C)[None, :]
    v = tl.load(x + row[:, None] * LDX + c[None, :], mask=inside, other=0.0)
    d = tl.where(inside, v - (tl.sum(v, axis=1) / C)[:, None], 0.0)
    r = tl.rsqrt(tl.sum(d * d, axis=1) / C + EPS)
    scale = tl.load(gamma + c, mask=c < C, other=0.0)[None, :]
    shift = tl.load(beta + c, mask=c < C, other=0.0)[None, :]
    tl.store(y + row[:, None] * LDY + c[None, :], d * r[:, None] * scale + shift, mask=inside)
