"""csrc/cpu/layout.gen.h: what packs weights in Python and reads them in C++, typed once."""

from __future__ import annotations

from ...core.header import HEAD, TAIL, camel, constant, enum
from ...settings import ISAS
from .. import pack
from . import winograd
from .algorithms import INT8_PRODUCTS, Algorithm, Layout


def header() -> str:
    """The text of csrc/cpu/layout.gen.h."""
    return (
        HEAD.format(module="diffuser_fast.backends.cpu.header", path="csrc/cpu/layout.gen.h")
        + enum("Algorithm", "", {a.name.lower(): a.value for a in Algorithm}, scoped=True)
        + enum("Layout", "layout", {a.name.lower(): a.value for a in Layout}, count="Layouts")
        + constant("block", pack.BLOCK, "channels of one block of packed weights")
        + constant("pitch_every", pack.PITCH_EVERY, "channels, of which whole multiples")
        + constant("pitch_extra", pack.PITCH_EXTRA, "get so many vectors more from one tap to the next")
        + constant("int8_products", INT8_PRODUCTS, "of a sum, at most")
        + constant("winograd_taps", winograd.TAPS)
        + constant("winograd_tile", winograd.TILE, "outputs in time")
        + constant("winograd_points", len(winograd.POINTS) + 1)
        + constant("winograd_short_points", len(winograd.SHORT_POINTS) + 1)
        + constant("winograd_short", winograd.SHORT, "rows: up to these a trajectory takes the fewer points")
        + "\n// Instruction sets, narrowest first: of x86-64, then of AArch64.\n"
        + "".join(f'constexpr char kIsa{camel(isa)}[] = "{isa}";\n' for isa in ISAS)
        + "\n"
        + TAIL
    )


if __name__ == "__main__":
    print(header(), end="")
