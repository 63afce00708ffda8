"""Two kernels that do as little as a dependent kernel can: read what the one before wrote, and write it."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def touch(x_ptr, BLOCK: tl.constexpr):
    """x += 1."""
    at = tl.arange(0, BLOCK)
    tl.store(x_ptr + at, tl.load(x_ptr + at) + 1.0)


@triton.jit
def touch_early(x_ptr, BLOCK: tl.constexpr):
    """The same under programmatic dependent launch: the next kernel may start at once and waits for this one's end."""
    gdc_launch_dependents()
    at = tl.arange(0, BLOCK)
    gdc_wait()
    tl.store(x_ptr + at, tl.load(x_ptr + at) + 1.0)
