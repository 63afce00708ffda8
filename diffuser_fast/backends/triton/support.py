"""What the Triton kernels can compute: what ``why_not`` reads, through ``core.verify.unsupported``."""

from __future__ import annotations

from ...core.program import Op, Program
from ...core.verify import Support
from .tiling import LARGEST, power

WIDEST_HEAD = 64  # of linear attention: its context, [W, W], stays in registers


def _too_large(op: Op, program: Program) -> str | None:
    """A sentence if the op's numbers are more than a program instance can hold, or None."""
    channels, length = program.shapes[op.outs[0]]
    if "groups" in op.attrs:
        width = channels // op.attrs["groups"]
        if power(length) * max(16, power(width)) > LARGEST:
            return (
                f"a GroupNorm over {length} times of {width} channels is more than one program instance of a GPU "
                f"holds ({LARGEST} numbers)"
            )
    if op.kind == "linear_attention" and (width := channels // op.attrs["heads"]) > WIDEST_HEAD:
        return f"a head of {width} channels is more than one program instance of a GPU holds ({WIDEST_HEAD} channels)"
    if op.kind == "channel_norm" and power(channels) > LARGEST:
        return f"a norm over {channels} channels is more than one program instance of a GPU holds ({LARGEST} numbers)"
    return None


# Written out: a kind that core/ops.py gets is refused here until there is a kernel for it.
SUPPORT = Support(
    kinds=frozenset({
        "conv", "group_norm", "channel_norm", "act", "add", "concat", "slice", "step_bias", "linear_attention",
        "group_norm_vjp", "act_vjp", "conv_block", "norm_act_vjp", "film",
    }),
    acts=frozenset({"mish", "silu", "relu", "gelu", "square"}),
    rule=_too_large,
)  # fmt: skip
