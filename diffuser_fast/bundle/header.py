"""csrc/capi/bundle.gen.h: what Python writes into a bundle and C++ reads from it, typed once."""

from __future__ import annotations

from ..core import costs
from ..core.header import HEAD, TAIL, constant, enum, real_constant
from . import contents, selftest, tensors

COSTS = ("QUANTILE", "LEAST_MARGIN", "MOST_MARGIN", "RATE", "ALIKE", "FLOOR", "FIRST_SPREAD", "SAFETY", "FORGET")


def header() -> str:
    """The text of csrc/capi/bundle.gen.h."""
    kinds = {kind.__name__.lower(): number for number, kind in enumerate(contents.KINDS)}
    return (
        HEAD.format(module="diffuser_fast.bundle.header", path="csrc/capi/bundle.gen.h")
        + enum("Size", "size", contents.SIZES, count="Sizes")
        + enum("VariantField", "variant", contents.VARIANT, count="VariantFields")
        + enum("NormalizerKind", "normalizer", kinds, count="NormalizerKinds")
        + constant("exactness_classes", len(contents.EXACTNESS))
        + constant("most_guide_steps", contents.MOST_GUIDE_STEPS, "of a denoising step")
        + constant("bundle_version", contents.VERSION)
        + constant("test_seed", selftest.SEED)
        + constant("test_number", selftest.NUMBER)
        + constant("line", tensors.LINE, "bytes: tensors lie at multiples of it")
        + constant("digest_lanes", tensors.LANES, "64-bit words")
        + constant("digest_turn", tensors.TURN, "bits")
        + f"constexpr unsigned long long kDigestMultiplier = {tensors.MULTIPLIER:#x};\n"
        + constant("cost_window", costs.WINDOW, "plans; core/costs.py says what this and these are")
        + "".join(real_constant(f"cost_{name.lower()}", getattr(costs, name)) for name in COSTS)
        + "\n"
        + TAIL
    )


if __name__ == "__main__":
    print(header(), end="")
