"""Activations and their derivatives, elementwise, float32; ACT is a name of ``core.ops.ACTS``.

With EXACT the exponential is a polynomial of 1 ULP; without it the device's own, which loses a few bits at large |x|.
The polynomials are those of the C++ engine (csrc/cpu/act.inl.h).
"""

import triton
import triton.language as tl

HELD = tl.constexpr(13.1)  # e^(-x^2 / 2) is taken to be what it is there where |x| is larger: 1e-37


@triton.jit
def exp(x, EXACT: tl.constexpr):
    """e^x for -87.3 <= x <= 88."""
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
def act(x, ACT: tl.constexpr, EXACT: tl.constexpr):
    """The activation."""
    tl.static_assert(ACT == "mish" or ACT == "silu" or ACT == "relu" or ACT == "gelu" or ACT == "square")
    if ACT == "mish":
        return mish(x, EXACT)
    elif ACT == "silu":
        return silu(x, EXACT)
    elif ACT == "relu":
        return tl.where(x < 0, 0.0, x)  # what is not a number stays
    elif ACT == "square":
        return x * x
    else:
        return x * normal(x, EXACT)[0]


@triton.jit
def act_slope(x, ACT: tl.constexpr, EXACT: tl.constexpr):
    """Its derivative at x."""
    tl.static_assert(ACT == "mish" or ACT == "silu" or ACT == "relu" or ACT == "gelu" or ACT == "square")
    if ACT == "mish":
        return mish_slope(x, EXACT)
    elif ACT == "silu":
        return silu_slope(x, EXACT)
    elif ACT == "relu":
        return tl.where(x > 0, 1.0, 0.0)  # none at zero
    elif ACT == "square":
        return x + x
    else:
        distribution, bell = normal(x, EXACT)
        near = tl.minimum(tl.maximum(x, -HELD), HELD)
        return tl.fma(near * bell, 0.398942280, distribution)  # Phi(x) + x e^(-x^2 / 2) / sqrt(2 pi)


@triton.jit
def mish(x, EXACT: tl.constexpr):
    """x tanh(log(1 + e^x)) (Misra 2019) = x n / (n + 2) with n = e^x (e^x + 2); above 20 it is x in float32."""
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


@triton.jit
def silu(x, EXACT: tl.constexpr):
    """x s with s = 1 / (1 + e^-x) (Elfwing et al. 2018)."""
    return x / (1.0 + exp(tl.minimum(tl.maximum(-x, -87.3), 88.0), EXACT))


@triton.jit
def silu_slope(x, EXACT: tl.constexpr):
    """s + x s (1 - s), and 1 - s = e^-x s."""
    near = tl.minimum(tl.maximum(x, -88.0), 87.3)
    e = exp(-near, EXACT)
    s = 1.0 / (1.0 + e)
    return tl.fma(near * s, e * s, s)


@triton.jit
def normal(x, EXACT: tl.constexpr):
    """Phi(x), the distribution of a normal, and e^(-x^2 / 2). GELU(x) is x Phi(x) (Hendrycks and Gimpel 2016)."""
    a = tl.abs(x)
    # Phi(-a) e^(a^2 / 2) = t p(t), to 3.2e-7 of itself as far as a = 13.
    t = 1.0 / tl.fma(a, 0.34, 1.0)
    p = tl.fma(t, -0.004280091263353825, -0.004463222809135914)
    p = tl.fma(p, t, 0.09235890209674835)
    p = tl.fma(p, t, -0.21535491943359375)
    p = tl.fma(p, t, 0.1583588421344757)
    p = tl.fma(p, t, -0.023443199694156647)
    p = tl.fma(p, t, 0.10876451432704926)
    p = tl.fma(p, t, 0.11645367741584778)
    p = tl.fma(p, t, 0.13597899675369263)
    p = tl.fma(p, t, 0.13562649488449097)
    # a^2 / 2 = g^2 / 2 + d (g + d / 2) with g the nearest eighth, whose square is exact: the last digits of a square
    # count where it is large. Beyond the range of exp a is held.
    held = tl.minimum(a, HELD)
    g = (held + 1572864.0) - 1572864.0
    d = held - g
    bell = exp(-0.5 * (g * g), EXACT) * exp(-d * tl.fma(d, 0.5, g), EXACT)
    tail = (t * p) * bell
    return tl.where(x > 0, 1.0 - tail, tail), bell
