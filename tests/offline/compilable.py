"""Kernels for the offline compile check: one that is fine, one that spills, one that does not compile."""

import triton
import triton.language as tl


@triton.jit
def product(x, y, BLOCK: tl.constexpr, SCALE: tl.constexpr):
    """y = scale x x^T: a tile of BLOCK squared in registers."""
    i = tl.arange(0, BLOCK)
    at = i[:, None] * BLOCK + i[None, :]
    v = tl.load(x + at)
    tl.store(y + at, tl.dot(v, tl.trans(v), input_precision="ieee") * SCALE)


@triton.jit
def nonsense(x, y, BLOCK: tl.constexpr):
    """Shapes that do not go together."""
    v = tl.load(x + tl.arange(0, BLOCK))
    tl.store(y + tl.arange(0, 2 * BLOCK), v)
