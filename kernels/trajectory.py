"""What happens to the trajectories between the networks: first noise, guidance update, update, and inpainting.

Trajectories are ``[B, H, D]`` float32, dense; a program instance takes BLOCK elements of one sample. ``mask`` is int32
``[H, D]``, ``inpaint_values`` float32 ``[B or 1, H, D]`` (INPAINT_EACH: B). ``columns`` points to one row of the
StepTable: p, q, a, b, d, s, gx, g0, u. Noise is a pointer to the denoising step's own entry of the ``tape``, or drawn
from the seed and plan at ``address``.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .noise import normal


@triton.jit
def inpainted(v, e, sample, mask, inpaint_values, inside, SIZE: tl.constexpr, INPAINT_EACH: tl.constexpr):
    """The elements e of a sample: the inpainted values where the mask says so, elsewhere v."""
    given = tl.load(inpaint_values + (sample * SIZE if INPAINT_EACH else 0) + e, mask=inside, other=0.0)
    return tl.where(tl.load(mask + e, mask=inside, other=0) != 0, given, v)


@triton.jit
def drawn(tape, address, e, sample, entry, inside, SIZE: tl.constexpr):
    """The noise of an entry (0: the first; k + 1: of denoising step k)."""
    if tape is not None:
        return tl.load(tape + sample * SIZE + e, mask=inside, other=0.0)
    return normal(e, sample, entry, address)


@triton.jit
def begin(
    x, given, tape, address, mask, inpaint_values, chain, bad,
    SIZE: tl.constexpr, INPAINT_EACH: tl.constexpr, CHAIN: tl.constexpr, R: tl.constexpr, BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """x = the state given, or the first noise; then inpainting; ``bad`` = R, that is no denoising step.

    chain: its entry 0, or None; CHAIN: elements from a sample's chain to the next. Grid: (B, ceil(SIZE / BLOCK)).
    """
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    sample = tl.program_id(0)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = e < SIZE
    if given is not None:
        v = tl.load(given + sample * SIZE + e, mask=inside, other=0.0)
    else:
        v = drawn(tape, address, e, sample, 0, inside, SIZE)
    v = inpainted(v, e, sample, mask, inpaint_values, inside, SIZE, INPAINT_EACH)
    tl.store(x + sample * SIZE + e, v, mask=inside)
    if chain is not None:
        tl.store(chain + sample * CHAIN + e, v, mask=inside)
    if tl.program_id(0) + tl.program_id(1) == 0:
        tl.store(bad, R)


@triton.jit
def guidance_update(
    x, g, columns, mask, inpaint_values,
    SIZE: tl.constexpr, D: tl.constexpr, LDG: tl.constexpr, INPAINT_EACH: tl.constexpr, BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """x += gx g, then inpainting. g, the guidance gradient: rows of D, LDG apart. Grid: (B, ceil(SIZE / BLOCK))."""
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    sample = tl.program_id(0)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = e < SIZE
    v = tl.load(x + sample * SIZE + e, mask=inside, other=0.0)
    slope = tl.load(g + (sample * (SIZE // D) + e // D) * LDG + e % D, mask=inside, other=0.0)
    v = tl.fma(slope, tl.load(columns + 6), v)
    tl.store(
        x + sample * SIZE + e, inpainted(v, e, sample, mask, inpaint_values, inside, SIZE, INPAINT_EACH), mask=inside
    )


@triton.jit(do_not_specialize=["k"])
def update(
    x, net, g, previous_x0, columns, low, high, tape, address, mask, inpaint_values, chain, bad, k,
    SIZE: tl.constexpr, D: tl.constexpr, LDN: tl.constexpr, LDG: tl.constexpr, INPAINT_EACH: tl.constexpr,
    FIRST: tl.constexpr, NOISE: tl.constexpr, UNCLIPPED: tl.constexpr, CHAIN: tl.constexpr, BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """x0 = p x + q net [+ g0 g], clipped; x = a x0 + b x [+ d previous_x0] [+ u unclipped x0] [+ s noise]; then
    inpainting, and previous_x0 = x0.

    g, previous_x0, low and high (``[D]``), chain (its entry of this step) may be None. FIRST: no denoising step came
    before, and ``previous_x0`` is x0 itself. ``bad``: the first denoising step whose x is not finite. k: this one.
    Grid: (B, ceil(SIZE / BLOCK)).
    """
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    sample = tl.program_id(0)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = e < SIZE
    row = sample * (SIZE // D) + e // D
    old = tl.load(x + sample * SIZE + e, mask=inside, other=0.0)
    out = tl.load(net + row * LDN + e % D, mask=inside, other=0.0)
    x0 = tl.fma(old, tl.load(columns), out * tl.load(columns + 1))
    if g is not None:
        x0 = tl.fma(tl.load(g + row * LDG + e % D, mask=inside, other=0.0), tl.load(columns + 7), x0)
    unclipped = x0
    if low is not None:
        bottom = tl.load(low + e % D, mask=inside, other=0.0)
        top = tl.load(high + e % D, mask=inside, other=0.0)
        # Written so that a number that is not finite stays one, to be seen below.
        x0 = tl.where(x0 < bottom, bottom, tl.where(x0 > top, top, x0))
    v = tl.fma(x0, tl.load(columns + 2), old * tl.load(columns + 3))
    if previous_x0 is not None:
        last = x0 if FIRST else tl.load(previous_x0 + sample * SIZE + e, mask=inside, other=0.0)
        v = tl.fma(last, tl.load(columns + 4), v)
        tl.store(previous_x0 + sample * SIZE + e, x0, mask=inside)
    if UNCLIPPED:
        v = tl.fma(unclipped, tl.load(columns + 8), v)
    if NOISE:
        v = tl.fma(drawn(tape, address, e, sample, k + 1, inside, SIZE), tl.load(columns + 5), v)
    v = inpainted(v, e, sample, mask, inpaint_values, inside, SIZE, INPAINT_EACH)
    tl.store(x + sample * SIZE + e, v, mask=inside)
    if chain is not None:
        tl.store(chain + sample * CHAIN + e, v, mask=inside)
    wrong = tl.sum(tl.where(tl.abs(v) < float("inf"), 0, inside.to(tl.int32)), axis=0)  # what is not a number is not <
    if wrong > 0:
        tl.atomic_min(bad, k)
