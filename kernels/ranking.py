"""Plans in order of their values: a stable descending sort by counting."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def rank(
    value, values, order,
    LDV: tl.constexpr, COUNT: tl.constexpr, CP: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Values ``[B]``, LDV apart -> ``values`` (dense) and ``order``: in each group of COUNT, its indices best first.

    A plan's place is the number of plans that go before it: those of higher value, and of equal value with a lower
    index. What is not a number goes last. Grid: (B / COUNT, ceil(COUNT / BLOCK)).
    """
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
    first = tl.program_id(0) * COUNT
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mine = tl.load(value + (first + i) * LDV, mask=i < COUNT, other=0.0)
    tl.store(values + first + i, mine, mask=i < COUNT)
    place = tl.zeros((BLOCK,), tl.int32)
    for at in range(0, CP, BLOCK):
        j = at + tl.arange(0, BLOCK)
        other = tl.load(value + (first + j) * LDV, mask=j < COUNT, other=0.0)
        a, b = other[None, :], mine[:, None]
        higher = (a > b) | ((b != b) & (a == a))
        equal = (a == b) | ((a != a) & (b != b))
        ahead = higher | (equal & (j[None, :] < i[:, None]))
        place += tl.sum((ahead & (j < COUNT)[None, :]).to(tl.int32), axis=1)
    tl.store(order + first + place, i, mask=i < COUNT)
