"""Mish and its derivative, elementwise, float32.

Mish(x) = x tanh(log(1 + e^x)) (Misra 2019) = x n / (n + 2) with n = e^x (e^x + 2); above 20 it is x in float32.
With EXACT the exponential is a polynomial of 1 ULP; without it the device's own, which loses a few bits at large |x|.
"""

import triton
import triton.language as tl


@triton.jit
def exp(x, EXACT: tl.constexpr):
    """e^x for -87.3 <= x <= 88. The polynomial is the one of the C++ engine."""
    if EXACT:
        # n = x / ln 2 rounded: adding 1.5 * 2^23 pushes the fraction out. r = x - n ln 2, ln 2 in two parts of which
        # the first has few enough bits that n times it is exact. e^r = 1 + r (1 + r p(r)).
        n = tl.fma(x, 1.44269504, 12582912.0) - 12582912.0
        r = tl.fma(n, 2.12194440e-4, tl.fma(n, -0.693359375, x))
        p = tl.fma(1.381453999e-3, r, 8.368745116e-3)
        p = tl.fma(p, r, 4.166839079e-2)
        p = tl.fma(p, r, 1.666652040e-1)
        p = tl.fma(p, r, 4.999999343e-1)
        p = tl.fma(p, r, 1.0)
        power = ((n.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)
        return tl.fma(p, r, 1.0) * power
    return tl.exp(x)


@triton.jit
def mish(x, EXACT: tl.constexpr):
    e = exp(tl.minimum(tl.maximum(x, -87.3), 20.0), EXACT)
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


@triton.jit
def mish_slope(x, EXACT: tl.constexpr):
    """n / (n + 2) + 4 x e (e + 1) / (n + 2)^2; beyond the ends of the range it is 0 and 1."""
    low = tl.minimum(tl.maximum(x, -87.3), 20.0)
    e = exp(low, EXACT)
    n = e * (e + 2.0)
    r = 1.0 / (n + 2.0)
    return tl.fma(n, r, (low * (4.0 * r)) * ((e * (e + 1.0)) * r))
