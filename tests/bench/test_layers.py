"""What a layer's row counts."""

import pytest

from bench.layers import _needed
from diffuser_fast.core.passes import vjp
from diffuser_fast.core.program import Builder


@pytest.mark.parametrize(("length", "k", "stride", "pad", "needed"), [
    (2, 3, 1, 1, 4 / 6), (4, 5, 1, 2, 14 / 20), (100, 1, 1, 0, 1.0), (4, 3, 2, 1, 5 / 6), (4, 4, 1, 0, 1.0),
])  # fmt: skip
def test_products_with_padding_are_not_needed(length, k, stride, pad, needed):
    """The same for a convolution and its adjoint."""
    b = Builder((3, length))
    program = vjp(b.done(b.conv(0, "c", 2, k=k, stride=stride, pad=pad)))
    both = [_needed(op, program) for op in program.ops]
    assert both == [pytest.approx(needed)] * 2
