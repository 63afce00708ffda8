"""Time-embedding tables: the numbers that a channel of a sample sees in a denoising step."""

import triton
import triton.language as tl


@triton.jit
def table_row(table, sample_table, b, c, columns, inside, LDT: tl.constexpr, LDS: tl.constexpr):
    """table[b, c], plus sample_table[b, c] if there is one: ``[M, N]``, or ``[1, N]`` where all samples see the same.

    b: samples ``[M]``; c: channels ``[N]``, there where ``columns``; inside: ``[M, N]``. LDT, LDS: numbers from one
    sample's row to the next; LDT 0: one row for all.
    """
    if LDT == 0:
        seen = tl.load(table + c, mask=columns, other=0.0)[None, :]
    else:
        seen = tl.load(table + b[:, None] * LDT + c[None, :], mask=inside, other=0.0)
    if sample_table is not None:
        seen = seen + tl.load(sample_table + b[:, None] * LDS + c[None, :], mask=inside, other=0.0)
    return seen
