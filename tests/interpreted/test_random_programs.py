"""Programs of random ops, fused or not, and their gradients: fusion groups, memory and views, whatever follows what."""

import pytest
from core.random_programs import elementwise, shaped
from interpreted.judged import launched

from diffuser_fast import conformance as c
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder


@pytest.mark.parametrize("seed", range(12))
def test_any_shapes(seed):
    for program in (one := shaped(seed), fuse(one)):
        launched(c.OpCase(f"shaped {seed}", program, batch=3))


@pytest.mark.parametrize("seed", range(8))
def test_one_shape_with_norms(seed):
    for program in (one := elementwise(seed), fuse(one)):
        launched(c.OpCase(f"elementwise {seed}", program, batch=2))


@pytest.mark.parametrize("seed", range(6))
def test_gradients(seed):
    b = Builder.extending(elementwise(seed, ops=8))
    program = vjp(b.done(y=b.conv(len(b.shapes) - 1, "head", 1, k=5, pad=0)))
    for one in (program, fuse(program)):
        launched(c.OpCase(f"gradient {seed}", one, batch=2))
