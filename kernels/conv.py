"""One convolution with what comes before and after it, in one launch: networks are launches of this kernel.

    acc = conv(x, w) + bias [+ early residual] [+ step bias]            -> ``pre``, if asked for
    y   = acc, or act(group_norm(acc)), or act(acc), or the gradient of one of these at ``u`` given acc
    y   = y [+ step bias] [+ late residual]                              -> ``y``

A residual is ``r`` itself or a 1x1 convolution of it; a step bias is a row of time-embedding tables (time_table.py).
Values are ``[B, H, C]`` in memory, channels last, rows ``LD*`` apart.

A program instance computes a tile of NB samples x BM times x (GB groups of CP columns), so batch and time are one
matrix dimension and a group's statistics stay in one instance. Where that gives too few of them, time is cut into HT
tiles and the sum over taps and channels is split in SPLIT_K (split-K): each instance then leaves its partial sums in
``partials``, and the last of a tile to arrive (an atomic tile counter, reset by it for the next launch) adds them in
their fixed order and runs the epilogue. Nobody waits for anybody.

Weights are packed ``[taps, channels in padded to BK, columns]`` with the columns of a group padded to CP (see the
backend's weights.py). Sums are float32. With OPERAND "float32" and DOT "ieee" every BK products are summed by
themselves first: one running sum over thousands of products would lose three bits more.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .act import act, act_slope
from .group import norm_act, norm_act_pullback
from .time_table import table_row


@triton.jit
def narrowed(v, OPERAND: tl.constexpr, EMULATE: tl.constexpr):
    """float32, or what is stored narrower already, as an operand. EMULATE: for the interpreter, whose bfloat16 is
    broken, the same numbers as float32, rounded by hand."""
    if OPERAND == "float16":
        out = v.to(tl.float16)
    elif EMULATE:
        bits = v.to(tl.float32).to(tl.int32, bitcast=True)
        bits = bits + (0x7FFF + ((bits >> 16) & 1))
        out = ((bits >> 16) << 16).to(tl.float32, bitcast=True)
    else:
        out = v.to(tl.bfloat16)
    return out


@triton.jit
def taps_product(
    x, w, b, h, rows, n, split,
    H_IN: tl.constexpr, CI: tl.constexpr, LDX: tl.constexpr, K: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    TRANSPOSED: tl.constexpr, BK: tl.constexpr, COLS: tl.constexpr, SPLIT_K: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, OPERAND: tl.constexpr, DOT: tl.constexpr, EMULATE: tl.constexpr,
):  # fmt: skip
    """The sum over one split of the taps and input channels: ``[M, N]`` float32."""
    CHUNKS: tl.constexpr = (CI + BK - 1) // BK
    K_STEPS: tl.constexpr = (K * CHUNKS + SPLIT_K - 1) // SPLIT_K
    acc = tl.zeros((M, N), tl.float32)
    for i in range(K_STEPS):
        k_step = split * K_STEPS + i
        tap = k_step // CHUNKS
        c = (k_step % CHUNKS) * BK + tl.arange(0, BK)
        if TRANSPOSED:
            top = h + PAD - tap
            source = top // STRIDE
            there = rows & (top >= 0) & (top % STRIDE == 0) & (source < H_IN)
        else:
            source = h * STRIDE - PAD + tap
            there = rows & (source >= 0) & (source < H_IN)
        if K_STEPS * SPLIT_K > K * CHUNKS:  # the last split is shorter
            there = there & (k_step < K * CHUNKS)
        seen = there[:, None] & (c < CI)[None, :]
        xv = tl.load(x + (b * H_IN + source)[:, None] * LDX + c[None, :], mask=seen, other=0.0)
        at = (k_step * BK + tl.arange(0, BK))[:, None] * COLS + n[None, :]
        if K_STEPS * SPLIT_K > K * CHUNKS:
            wv = tl.load(w + at, mask=(k_step < K * CHUNKS) & (at >= 0), other=0.0)
        else:
            wv = tl.load(w + at)
        if OPERAND != "float32":
            acc = tl.dot(narrowed(xv, OPERAND, EMULATE), narrowed(wv, OPERAND, EMULATE), acc)
        elif DOT == "ieee":
            # Times one, so that the compiler does not make it one running sum again.
            acc = tl.fma(tl.dot(xv, wv, input_precision="ieee"), 1.0, acc)
        else:
            acc = tl.dot(xv, wv, acc, input_precision=DOT)
    return acc


@triton.jit
def epilogue(
    acc, late, r, bias, skip_bias, gamma, beta, table, sample_table, u, pre, y, b, h, rows, n,
    H: tl.constexpr, CO: tl.constexpr, CG: tl.constexpr, CP: tl.constexpr, LDY: tl.constexpr, LDR: tl.constexpr,
    LDU: tl.constexpr, LDP: tl.constexpr, LDT: tl.constexpr, LDS: tl.constexpr, COUNT: tl.constexpr, NB: tl.constexpr,
    HP: tl.constexpr, GB: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_SKIP_BIAS: tl.constexpr, EARLY: tl.constexpr,
    LATE: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr, PRE: tl.constexpr, MODE: tl.constexpr,
    EPS: tl.constexpr, ACT: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """From the sum to what is stored; see the head of the file."""
    within = n % CP
    c = (n // CP) * CG + within
    columns = (within < CG) & (c < CO)
    inside = rows[:, None] & columns[None, :]
    row = (b * H + h)[:, None]
    if HAS_BIAS:
        acc += tl.load(bias + c, mask=columns, other=0.0)[None, :]
    if HAS_SKIP_BIAS and EARLY == "conv":
        acc += tl.load(skip_bias + c, mask=columns, other=0.0)[None, :]
    if EARLY == "same":
        acc += tl.load(r + row * LDR + c[None, :], mask=inside, other=0.0)
    if BEFORE:
        acc += table_row(table, sample_table, b, c, columns, inside, LDT, LDS)
    if PRE:
        tl.store(pre + row * LDP + c[None, :], acc, mask=inside)
    if MODE == "norm_act" or MODE == "norm_act_vjp":
        scale = tl.load(gamma + c, mask=columns, other=0.0)[None, :]
        shift = tl.load(beta + c, mask=columns, other=0.0)[None, :]
    if MODE == "norm_act_vjp" or MODE == "act_vjp":
        at = tl.load(u + row * LDU + c[None, :], mask=inside, other=0.0)
    if MODE == "norm_act":
        acc = norm_act(acc, scale, shift, inside, EPS, ACT, EXACT, COUNT, NB, HP, GB, CP)
    elif MODE == "norm_act_vjp":
        acc = norm_act_pullback(at, scale, shift, acc, inside, EPS, ACT, EXACT, COUNT, NB, HP, GB, CP)
    elif MODE == "act":
        acc = act(acc, ACT, EXACT)
    elif MODE == "act_vjp":
        acc = acc * act_slope(at, ACT, EXACT)
    if AFTER:
        acc += table_row(table, sample_table, b, c, columns, inside, LDT, LDS)
    if LATE == "same":
        acc += tl.load(r + row * LDR + c[None, :], mask=inside, other=0.0)
    elif LATE == "conv":
        acc += late
        if HAS_SKIP_BIAS:
            acc += tl.load(skip_bias + c, mask=columns, other=0.0)[None, :]
    tl.store(y + row * LDY + c[None, :], acc, mask=inside)


@triton.jit
def conv(
    x, w, bias, r, skip_w, skip_bias, gamma, beta, table, sample_table, u, pre, y, partials, tile_counters,
    B: tl.constexpr, H_IN: tl.constexpr, CI: tl.constexpr, LDX: tl.constexpr, H: tl.constexpr, CO: tl.constexpr,
    LDY: tl.constexpr, K: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, TRANSPOSED: tl.constexpr,
    CR: tl.constexpr, LDR: tl.constexpr, LDU: tl.constexpr, LDP: tl.constexpr, LDT: tl.constexpr, LDS: tl.constexpr,
    CG: tl.constexpr, CP: tl.constexpr, EARLY: tl.constexpr, LATE: tl.constexpr, BEFORE: tl.constexpr,
    AFTER: tl.constexpr, MODE: tl.constexpr, EPS: tl.constexpr, ACT: tl.constexpr, NB: tl.constexpr, BM: tl.constexpr,
    HT: tl.constexpr, GB: tl.constexpr, BK: tl.constexpr, SPLIT_K: tl.constexpr, COLS: tl.constexpr,
    OPERAND: tl.constexpr, DOT: tl.constexpr, EXACT: tl.constexpr, EMULATE: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Grid: (ceil(B / NB) * HT, COLS / (GB * CP), splits); splits = SPLIT_K, and one for a 1x1 residual if there are
    partials."""
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    N: tl.constexpr = GB * CP
    NORM: tl.constexpr = MODE == "norm_act" or MODE == "norm_act_vjp"
    SKIP: tl.constexpr = EARLY == "conv" or LATE == "conv"
    SPLITS: tl.constexpr = SPLIT_K + 1 if SKIP and (SPLIT_K > 1 or (NORM and HT > 1)) else SPLIT_K
    PARTIALS: tl.constexpr = SPLITS > 1 or (NORM and HT > 1)
    FULL: tl.constexpr = BM * HT if NORM else BM  # times of one epilogue
    tile = tl.program_id(0)
    split = tl.program_id(2)
    i = tl.arange(0, NB * BM)
    b = (tile // HT) * NB + i // BM
    h = (tile % HT) * BM + i % BM
    rows = (b < B) & (h < H)
    n = tl.program_id(1) * N + tl.arange(0, N)
    if PARTIALS:
        if SKIP and split == SPLIT_K:
            acc = taps_product(
                r, skip_w, b, h, rows, n, 0, H, CR, LDR, 1, 1, 0, False, BK, COLS, 1, NB * BM, N, OPERAND, DOT, EMULATE
            )
        else:
            acc = taps_product(
                x, w, b, h, rows, n, split, H_IN, CI, LDX, K, STRIDE, PAD, TRANSPOSED, BK, COLS, SPLIT_K,
                NB * BM, N, OPERAND, DOT, EMULATE,
            )  # fmt: skip
        at = ((split * B + b) * H + h)[:, None] * COLS + n[None, :]
        tl.store(partials + at, acc, mask=rows[:, None])
        tl.debug_barrier()  # every thread's partial sums are written before one of them says so
        counter = (tile // HT if NORM else tile) * tl.num_programs(1) + tl.program_id(1)
        arrived = tl.atomic_add(tile_counters + counter, 1, sem="acq_rel", scope="gpu")
        if arrived == SPLITS * (HT if NORM else 1) - 1:
            tl.store(tile_counters + counter, 0)
            j = tl.arange(0, NB * FULL)
            bb = (tile // HT) * NB + j // FULL
            hh = (0 if NORM else (tile % HT) * BM) + j % FULL
            all_rows = (bb < B) & (hh < H)
            total = tl.zeros((NB * FULL, N), tl.float32)
            late = tl.zeros((NB * FULL, N), tl.float32)
            for k in tl.static_range(SPLITS):
                # Past the first-level cache, which does not see what other program instances wrote.
                v = tl.load(
                    partials + ((k * B + bb) * H + hh)[:, None] * COLS + n[None, :],
                    mask=all_rows[:, None] & (n >= 0)[None, :], other=0.0, cache_modifier=".cg",
                )  # fmt: skip
                if LATE == "conv" and k == SPLIT_K:
                    late += v
                else:
                    total += v
            epilogue(
                total, late, r, bias, skip_bias, gamma, beta, table, sample_table, u, pre, y, bb, hh, all_rows, n,
                H, CO, CG, CP, LDY, LDR, LDU, LDP, LDT, LDS, H * CG, NB, FULL, GB, bias is not None,
                skip_bias is not None, EARLY, LATE, BEFORE, AFTER, pre is not None, MODE, EPS, ACT, EXACT,
            )  # fmt: skip
    else:
        acc = taps_product(
            x, w, b, h, rows, n, 0, H_IN, CI, LDX, K, STRIDE, PAD, TRANSPOSED, BK, COLS, 1,
            NB * BM, N, OPERAND, DOT, EMULATE,
        )  # fmt: skip
        late = acc
        if SKIP:
            late = taps_product(
                r, skip_w, b, h, rows, n, 0, H, CR, LDR, 1, 1, 0, False, BK, COLS, 1, NB * BM, N, OPERAND, DOT, EMULATE
            )
        if EARLY == "conv":
            acc += late
        epilogue(
            acc, late, r, bias, skip_bias, gamma, beta, table, sample_table, u, pre, y, b, h, rows, n,
            H, CO, CG, CP, LDY, LDR, LDU, LDP, LDT, LDS, H * CG, NB, BM, GB, bias is not None, skip_bias is not None,
            EARLY, LATE, BEFORE, AFTER, pre is not None, MODE, EPS, ACT, EXACT,
        )  # fmt: skip
