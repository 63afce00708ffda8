"""ConditionalUnet1D (Chi et al. 2023): the U-Net of diffusion_policy and of lerobot, out of either's keys."""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import NDArray

from ..core.checkpoint import Weights
from ..core.embedding import Embedding
from ..core.spec import UNetSpec
from .renamed import counted, predicting_zeros, shape_of, weights

HEAD_GROUPS = 8  # whatever the blocks have


def rules(first: str, second: str, resampling: str) -> tuple[tuple[str, str], ...]:
    """Our names to the library's. first, second: a block's two halves; resampling: of a level, behind its number."""
    return (
        (r"\.first\.conv\.", f".{first}.block.0."),
        (r"\.first\.norm\.", f".{first}.block.1."),
        (r"\.second\.conv\.", f".{second}.block.0."),
        (r"\.second\.norm\.", f".{second}.block.1."),
        (r"(block\d?)\.(time|condition)\.", r"\1.cond_encoder.1."),
        (r"\.skip\.", ".residual_conv."),
        (r"^time\.linear1\.", "diffusion_step_encoder.1."),
        (r"^time\.linear2\.", "diffusion_step_encoder.3."),
        (r"^(down|up)(\d+)\.block(\d)", r"\1_modules.\2.\3"),
        (r"^local\.block", "local_cond_encoder.0"),
        (r"^(down|up)(\d+)\.(down|up)sample", rf"\1_modules.\2.{resampling}"),
        (r"^mid\.block(\d)", r"mid_modules.\1"),
        (r"^head\.conv", "final_conv.0.block.0"),
        (r"^head\.norm", "final_conv.0.block.1"),
        (r"^head\.out", "final_conv.1"),
    )


def unet_weights(
    tensors: Mapping[str, NDArray],
    horizon: int,
    groups: int,
    film: bool,
    names: tuple[tuple[str, str], ...],
    first: str,
) -> Weights:
    """The network. groups: of the blocks' norms. film: what the configuration says, which the shapes must bear out.

    A local condition is read by the first of two encoders; the second is trained, and what it makes never used.
    """
    local_key = f"local_cond_encoder.0.{first}.block.0.weight"
    local = shape_of(tensors, local_key, 3)[1] if local_key in tensors else 0
    unused = [key for key in tensors if key.startswith("local_cond_encoder.1.")]
    tensors = predicting_zeros(tensors, "final_conv.1", local)
    block = f"down_modules.{{}}.0.{first}.block.0.weight"
    levels = counted(tensors, block)
    start = shape_of(tensors, block.format(0), 3)
    hidden, width = shape_of(tensors, "diffusion_step_encoder.1.weight", 2)
    out = shape_of(tensors, "diffusion_step_encoder.3.weight", 2)[0]
    projected, seen = shape_of(tensors, "down_modules.0.0.cond_encoder.1.weight", 2)
    if projected != start[0] * (1 + film):
        what = "scales and shifts" if film else "shifts alone"
        raise ValueError(f"its blocks are projected to {projected} numbers, {what} of {start[0]} channels are expected")
    if seen < out:
        raise ValueError(f"its blocks see {seen} numbers, fewer than the step's embedding has, {out}")
    head = shape_of(tensors, "final_conv.0.block.0.weight", 3)
    spec = UNetSpec(
        horizon=horizon, transition_dim=start[1] + local, given=local, local=local > 0, dim=head[0],
        dim_mults=(), kernel_size=start[2], groups=groups,
        widths=tuple(shape_of(tensors, block.format(i), 3)[0] for i in range(levels)), film=film,
        embedding=Embedding(width, hidden, out), condition=seen - out, head_kernel=head[2], head_groups=HEAD_GROUPS,
    )  # fmt: skip
    return weights(spec, tensors, names, unused=unused)
