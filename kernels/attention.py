"""Linear attention (Shen et al. 2021; as in the original's temporal U-Net): keys are normalised over time.

context[d, e] = sum_n softmax(k)[d, n] v[e, n];  out[e, n] = sum_d context[d, e] q_scale q[d, n]
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def linear_attention(
    qkv, y,
    H: tl.constexpr, HEADS: tl.constexpr, W: tl.constexpr, LDX: tl.constexpr, LDY: tl.constexpr,
    Q_SCALE: tl.constexpr, BH: tl.constexpr, WP: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One head of one sample: ``[H, 3, HEADS, W]`` -> ``[H, HEADS, W]``, rows LD* apart. Grid: (B, HEADS).

    Time goes by in blocks of BH, three times: for the largest key, for the context, for the result.
    """
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    first = tl.program_id(0) * H
    c = tl.arange(0, WP)
    wide = (c < W)[None, :]
    q = qkv + tl.program_id(1) * W + c[None, :]
    k, v = q + HEADS * W, q + 2 * HEADS * W
    top = tl.full((WP,), float("-inf"), tl.float32)
    for t in range(0, H, BH):
        row = (t + tl.arange(0, BH))[:, None]
        keys = tl.load(k + (first + row) * LDX, mask=(row < H) & wide, other=float("-inf"))
        top = tl.maximum(top, tl.max(keys, axis=0))
    top = tl.where(c < W, top, 0.0)
    total = tl.zeros((WP,), tl.float32)
    context = tl.zeros((WP, WP), tl.float32)
    for t in range(0, H, BH):
        row = (t + tl.arange(0, BH))[:, None]
        keys = tl.load(k + (first + row) * LDX, mask=(row < H) & wide, other=float("-inf"))
        weight = tl.exp(keys - top[None, :])
        total += tl.sum(weight, axis=0)
        values = tl.load(v + (first + row) * LDX, mask=(row < H) & wide, other=0.0)
        context = tl.dot(tl.trans(weight), values, context, input_precision="ieee")
    context = context * (Q_SCALE / tl.where(c < W, total, 1.0))[:, None]
    for t in range(0, H, BH):
        row = (t + tl.arange(0, BH))[:, None]
        queries = tl.load(q + (first + row) * LDX, mask=(row < H) & wide, other=0.0)
        out = tl.dot(queries, context, input_precision="ieee")
        tl.store(y + (first + row) * LDY + tl.program_id(1) * W + c[None, :], out, mask=(row < H) & wide)
