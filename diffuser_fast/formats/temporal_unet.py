"""Our names -> the keys of the original's TemporalUnet, which its branches and Decision Diffuser kept and added to."""

from __future__ import annotations

# Of blocks and the time embedding; then of whole levels.
BLOCKS = (
    (r"\.first\.conv\.", ".blocks.0.block.0."),
    (r"\.first\.norm\.", ".blocks.0.block.2."),
    (r"\.second\.conv\.", ".blocks.1.block.0."),
    (r"\.second\.norm\.", ".blocks.1.block.2."),
    (r"(block\d?)\.(time|condition)\.", r"\1.time_mlp.1."),
    (r"\.skip\.", ".residual_conv."),
    (r"^time\.linear1\.", "time_mlp.1."),
    (r"^time\.linear2\.", "time_mlp.3."),
)
_LEVELS = (
    (r"^(down|up)(\d+)\.block(\d)", r"\1s.\2.\3"),
    (r"^(down|up)(\d+)\.attention", r"\1s.\2.2"),
    (r"^(down|up)(\d+)\.(down|up)sample", r"\1s.\2.SLOT.conv"),
    (r"^mid\.block0", "mid_block1"),
    (r"^mid\.block1", "mid_block2"),
    (r"^mid\.attention", "mid_attn"),
    (r"^head\.conv", "final_conv.0.block.0"),
    (r"^head\.norm", "final_conv.0.block.2"),
    (r"^head\.out", "final_conv.1"),
)


def levels(slot: int) -> tuple[tuple[str, str], ...]:
    """Rules of whole levels. slot: the entry of a level's resampling convolution."""
    return tuple((pattern, key.replace("SLOT", str(slot))) for pattern, key in _LEVELS)
