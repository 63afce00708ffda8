"""Noise by address: Philox4x32-10 (Salmon et al. 2011) and Box and Muller (1958), the same words on any device.

key = seed (64 bits); counter = (block, sample, entry, plan), where block counts groups of four elements in order and
entry is 0 for the first noise, k + 1 for that of denoising step k. The
uniforms have 24 bits, so they are exact in float32; the logarithm and the sine are the polynomials of the C++ engine.
"""

import triton
import triton.language as tl
from triton.language.random import philox_impl


@triton.jit
def log(u):
    """log(u) for 2^-24 <= u <= 1."""
    # u = 2^e m with m in [sqrt(1/2), sqrt(2)), f = m - 1; log(m) = f - f^2/2 + f^3 p(f)
    bits = u.to(tl.int32, bitcast=True)
    e = (bits - 0x3F3504F3) >> 23
    f = (bits - (e << 23)).to(tl.float32, bitcast=True) - 1.0
    p = tl.fma(f, 6.746640331e-2, -1.167565177e-1)
    p = tl.fma(p, f, 1.188816232e-1)
    p = tl.fma(p, f, -1.240558893e-1)
    p = tl.fma(p, f, 1.421955235e-1)
    p = tl.fma(p, f, -1.666799585e-1)
    p = tl.fma(p, f, 2.000211866e-1)
    p = tl.fma(p, f, -2.500000960e-1)
    p = tl.fma(p, f, 3.333331260e-1)
    # ln 2 in two parts; the first has so few bits that n times it is exact.
    n = e.to(tl.float32)
    small = tl.fma(n, -2.12194440e-4, tl.fma(f * f * f, p, -0.5 * (f * f)))
    return tl.fma(n, 0.693359375, small + f)


@triton.jit
def sin_turns(w):
    """sin(2 pi w) for |w| <= 1, w a multiple of 2^-24."""
    # w = k/2 + h with |h| <= 1/4, exactly; sin(2 pi w) = (-1)^k sin(2 pi h). Rounding by pushing the fraction out.
    k = (w + w + 12582912.0) - 12582912.0
    h = w - 0.5 * k
    odd = k - 2.0 * ((0.5 * k + 12582912.0) - 12582912.0)  # -1, 0 or 1
    z = h * h
    p = tl.fma(z, -1.439370999e1, 4.200994433e1)
    p = tl.fma(p, z, -7.670430658e1)
    p = tl.fma(p, z, 8.160522748e1)
    p = tl.fma(p, z, -4.134170214e1)
    p = tl.fma(p, z, -1.74845560e-7)  # 2 pi = 6.28318548 - 1.7e-7
    return (1.0 - 2.0 * odd * odd) * tl.fma(h, 6.28318548, h * p)


@triton.jit
def normal(element, sample, entry, address):
    """The normals of elements (of ``[H, D]``, in order) of samples in one entry; both int32 blocks of one size.

    address: pointer to four int32 words: low and high half of the seed, number of the first situation's plan,
    candidates of a situation (core/noise.py, draw).
    """
    zero = element * 0
    low = (zero + tl.load(address)).to(tl.uint32, bitcast=True)
    high = (zero + tl.load(address + 1)).to(tl.uint32, bitcast=True)
    candidates = tl.load(address + 3)
    plan = (zero + tl.load(address + 2) + sample // candidates).to(tl.uint32, bitcast=True)
    lane = element % 4
    w0, w1, w2, w3 = philox_impl(
        (element // 4).to(tl.uint32, bitcast=True), (zero + sample % candidates).to(tl.uint32, bitcast=True),
        (zero + entry).to(tl.uint32, bitcast=True), plan, low, high,
    )  # fmt: skip
    first = tl.where(lane < 2, w0, w2)
    second = tl.where(lane < 2, w1, w3)
    u = ((first >> 8) + 1).to(tl.float32) * 5.9604644775390625e-8  # 2^-24
    turn = (second >> 8).to(tl.float32) * 5.9604644775390625e-8
    # cosine on even lanes, sine on odd ones
    return tl.sqrt(-2.0 * log(u)) * sin_turns(tl.where(lane % 2 == 0, turn - 0.75, turn))


@triton.jit
def words(counters, address, out, N: tl.constexpr, BLOCK: tl.constexpr):
    """Words ``[N, 4]`` of counters ``[N, 4]`` (int32 bits both) under the seed at ``address``. Grid: (N / BLOCK,)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    zero = i * 0
    low = (zero + tl.load(address)).to(tl.uint32, bitcast=True)
    high = (zero + tl.load(address + 1)).to(tl.uint32, bitcast=True)
    c0 = tl.load(counters + 4 * i, mask=i < N).to(tl.uint32, bitcast=True)
    c1 = tl.load(counters + 4 * i + 1, mask=i < N).to(tl.uint32, bitcast=True)
    c2 = tl.load(counters + 4 * i + 2, mask=i < N).to(tl.uint32, bitcast=True)
    c3 = tl.load(counters + 4 * i + 3, mask=i < N).to(tl.uint32, bitcast=True)
    w0, w1, w2, w3 = philox_impl(c0, c1, c2, c3, low, high)
    tl.store(out + 4 * i, w0.to(tl.int32, bitcast=True), mask=i < N)
    tl.store(out + 4 * i + 1, w1.to(tl.int32, bitcast=True), mask=i < N)
    tl.store(out + 4 * i + 2, w2.to(tl.int32, bitcast=True), mask=i < N)
    tl.store(out + 4 * i + 3, w3.to(tl.int32, bitcast=True), mask=i < N)
