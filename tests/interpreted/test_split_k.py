"""Convolutions cut as a GPU would have them: time and the sum (split-K) over several program instances, the last of
which adds up the partials and runs the epilogue."""

from dataclasses import dataclass

import pytest
from interpreted.judged import launched

from diffuser_fast import conformance as c
from diffuser_fast.backends.gpu.fusion_groups import fusion_groups
from diffuser_fast.backends.triton.target import Target
from diffuser_fast.backends.triton.tiling import Tiling, gpu_tiling
from diffuser_fast.core.passes import fuse
from diffuser_fast.core.program import Builder

CASES = {case.name: case for case in c.op_cases()}


@dataclass(frozen=True)
class Cut(Target):
    """The interpreter with tilings of another: (nb, bm, ht, gb, bk, split_k), or those of a GPU."""

    cut: tuple[int, ...] | None = None

    def tiling(self, problem):
        return gpu_tiling(problem, 90) if self.cut is None else Tiling(*self.cut, 4, 1)


RESIDUAL = "conv_block 13x6 to 24x6 k5 s1 p2 + r G8 table 5 mish with u B3"


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        # Time in four, with a group's statistics over all of it; samples beyond the batch.
        ("conv_block 17x7 to 24x7 k5 s1 p2 G8 table -1 mish B2", (1, 2, 4, 8, 32, 1)),
        (RESIDUAL, (1, 4, 2, 4, 16, 1)),
        # The sum split, the last split shorter: five taps of one chunk, in two and in four.
        (RESIDUAL, (2, 8, 1, 4, 16, 2)),
        (RESIDUAL, (4, 8, 1, 8, 16, 4)),
        # Both, and groups of three channels in four columns.
        (RESIDUAL, (1, 2, 4, 2, 16, 2)),
        ("conv_block 12x7 to 8x7 k1 s1 p0 G8 table 32 mish with u B2", (1, 4, 2, 8, 16, 1)),
        # Without a norm a cut in time needs no partials; a split sum still does.
        ("conv 32x3 to 32x6 k4 s2 p1 transposed B2", (1, 4, 2, 1, 16, 1)),
        ("conv 17x11 to 15x11 k5 s1 p2 B3", (1, 4, 3, 1, 16, 3)),
        ("conv 7x6 to 5x6 k5 s1 p2 + r B2", (2, 8, 1, 1, 16, 3)),
    ],
)  # fmt: skip
def test_partials_add_up(name, cut):
    launched(CASES[name], Cut(cut=cut))


def residuals():
    """A block whose residual is a 1x1 convolution, and that block's sum with another such residual, before any norm."""
    b = Builder((6, 6))
    y = b.act(b.group_norm(b.conv(0, "first", 24, k=5), "norm", 8))
    y = b.add(y, b.conv(0, "skip", 24, k=1))
    z = b.add(b.conv(0, "other", 7, k=1), b.conv(y, "second", 7, k=3))
    return c.OpCase("residuals", fuse(b.done(z, y)), batch=2)


@pytest.mark.parametrize("cut", [(2, 8, 1, 8, 16, 1), (2, 8, 1, 8, 16, 2), (1, 4, 2, 8, 16, 1), (1, 2, 4, 8, 16, 2)])
def test_residual_convolutions_are_splits_too(cut):
    case = residuals()
    assert [group.skip is not None for group in fusion_groups(case.program)] == [True, True]
    launched(case, Cut(cut=cut))


@pytest.mark.parametrize(
    "name",
    [
        "conv_block 512x2 to 512x2 k5 s1 p2 G8 table -1 mish B2",
        "network gradient of value H12 without middle",
    ],
)
def test_a_gpus_own_tilings(name):
    launched(CASES[name], Cut())
