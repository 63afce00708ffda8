"""GroupNorm and its gradient on a tile that holds whole groups: building blocks of the kernels that own one.

A tile is ``[NB * HP, GB * CP]`` float32: NB samples of HP times (powers of two, masked beyond the horizon), GB groups
of CP columns (a power of two, masked beyond the group's channels). ``inside`` is the mask. Means are of the COUNT
numbers that a group has. The variance is the mean square about the mean, in a second pass over registers: as a
difference of squares it would be lost where the mean is large.
"""

import triton
import triton.language as tl

from .act import act, act_slope


@triton.jit
def group_mean(v, COUNT: tl.constexpr, NB: tl.constexpr, HP: tl.constexpr, GB: tl.constexpr, CP: tl.constexpr):
    """Means over groups of a tile that is zero outside, spread over the tile again."""
    t = tl.reshape(v, (NB, HP, GB, CP))
    mean = tl.sum(tl.sum(t, axis=3), axis=1) / COUNT
    return tl.reshape(tl.broadcast_to(mean[:, None, :, None], (NB, HP, GB, CP)), (NB * HP, GB * CP))


@triton.jit
def group_normalise(
    u, inside, EPS: tl.constexpr,
    COUNT: tl.constexpr, NB: tl.constexpr, HP: tl.constexpr, GB: tl.constexpr, CP: tl.constexpr,
):  # fmt: skip
    """u with mean 0 and variance 1 in each group, zero outside; and 1 / sqrt(variance + eps) over the tile."""
    d = tl.where(inside, u - group_mean(tl.where(inside, u, 0.0), COUNT, NB, HP, GB, CP), 0.0)
    r = tl.rsqrt(group_mean(d * d, COUNT, NB, HP, GB, CP) + EPS)
    return d * r, r


@triton.jit
def group_norm_pullback(
    n, r, gamma, dy, inside,
    COUNT: tl.constexpr, NB: tl.constexpr, HP: tl.constexpr, GB: tl.constexpr, CP: tl.constexpr,
):  # fmt: skip
    """r (d - mean(d) - n mean(d n)), d = dy gamma: the gradient at the norm's input, given that at its result."""
    d = tl.where(inside, dy * gamma, 0.0)
    return r * (d - group_mean(d, COUNT, NB, HP, GB, CP) - n * group_mean(d * n, COUNT, NB, HP, GB, CP))


@triton.jit
def norm_act(
    u, gamma, beta, inside, EPS: tl.constexpr, ACT: tl.constexpr, EXACT: tl.constexpr,
    COUNT: tl.constexpr, NB: tl.constexpr, HP: tl.constexpr, GB: tl.constexpr, CP: tl.constexpr,
):  # fmt: skip
    """act(group_norm(u))."""
    n, _ = group_normalise(u, inside, EPS, COUNT, NB, HP, GB, CP)
    return act(n * gamma + beta, ACT, EXACT)


@triton.jit
def norm_act_pullback(
    u, gamma, beta, dy, inside, EPS: tl.constexpr, ACT: tl.constexpr, EXACT: tl.constexpr,
    COUNT: tl.constexpr, NB: tl.constexpr, HP: tl.constexpr, GB: tl.constexpr, CP: tl.constexpr,
):  # fmt: skip
    """The gradient of act(group_norm(u)) at u, given dy at its result."""
    n, r = group_normalise(u, inside, EPS, COUNT, NB, HP, GB, CP)
    dz = dy * act_slope(n * gamma + beta, ACT, EXACT)
    return group_norm_pullback(n, r, gamma, dz, inside, COUNT, NB, HP, GB, CP)
