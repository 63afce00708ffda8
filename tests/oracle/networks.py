"""The temporal U-Net and the value networks of Diffuser (paper, appendix C), in both published key layouts.

The module tree is the one the published state dicts name, so they load with strict=True. Submodules that
carry no weights (reshapes in the original) are nn.Identity here and hold their index open.

All networks are called as net(x, cond, t): x [B, H, D], cond ignored (inpainting is the sampler's business),
t [B] integer or floating. They compute in x's dtype, which must be the weights' dtype.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from .attention import attention_slot

GROUPS = 8  # of every GroupNorm in this family; eps is torch's default, 1e-5


class SinusoidalPosEmb(nn.Module):
    """t [B] -> [B, dim]: sines in the first half, cosines in the second, of t * 10000^(-i / (dim/2 - 1))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: Tensor) -> Tensor:
        half = self.dim // 2
        i = torch.arange(half, dtype=t.dtype, device=t.device)
        angle = t[:, None] * torch.exp(-math.log(10000.0) / (half - 1) * i)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


def time_embedding(dim: int) -> nn.Sequential:
    """t [B] -> [B, dim]; the linear layers are entries 1 and 3."""
    return nn.Sequential(SinusoidalPosEmb(dim), nn.Linear(dim, 4 * dim), nn.Mish(), nn.Linear(4 * dim, dim))


class Conv1dBlock(nn.Module):
    """Conv1d (same length) -> GroupNorm -> Mish on [B, C, H]; the conv is entry 0, the norm entry 2."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv1d(channels_in, channels_out, kernel_size, padding=kernel_size // 2),
            nn.Identity(),
            nn.GroupNorm(GROUPS, channels_out),
            nn.Identity(),
            nn.Mish(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class ResidualTemporalBlock(nn.Module):
    """Two Conv1dBlocks with a time bias between them and a skip around them.

    x [B, C_in, H], t [B, dim] -> block1(block0(x) + Linear(Mish(t))) + skip(x)  [B, C_out, H].
    The bias joins after block0's Mish. The skip is a 1x1 convolution only where the channel count changes.
    """

    def __init__(self, channels_in: int, channels_out: int, time_dim: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                Conv1dBlock(channels_in, channels_out, kernel_size),
                Conv1dBlock(channels_out, channels_out, kernel_size),
            ]
        )
        self.time_mlp = nn.Sequential(nn.Mish(), nn.Linear(time_dim, channels_out))
        same = channels_in == channels_out
        self.residual_conv = nn.Identity() if same else nn.Conv1d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = self.blocks[0](x) + self.time_mlp(t)[:, :, None]
        return self.blocks[1](y) + self.residual_conv(x)


class Downsample1d(nn.Module):
    """[B, C, n] -> [B, C, ceil(n / 2)]. Length 1 stays 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample1d(nn.Module):
    """[B, C, n] -> [B, C, 2 n]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(channels, channels, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def level_pairs(transition_dim: int, dim: int, dim_mults: Sequence[int]) -> list[tuple[int, int]]:
    """(channels in, channels out) of each level, from the full horizon down."""
    channels = [transition_dim, *(dim * m for m in dim_mults)]
    return list(pairwise(channels))


class TemporalUnet(nn.Module):
    """The denoiser, main layout: [B, H, D] -> [B, H, D]. H must be divisible by 2^(levels - 1).

    A level is [block, block, attention slot, resample]. Every level pushes a skip (after attention, before
    the downsample); the way up pops all but the first level's, which therefore goes unused.
    """

    def __init__(
        self,
        horizon: int,
        transition_dim: int,
        cond_dim: int,
        dim: int = 32,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        attention: bool = False,
    ) -> None:
        super().__init__()
        levels = level_pairs(transition_dim, dim, dim_mults)
        self.time_mlp = time_embedding(dim)
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        for i, (c_in, c_out) in enumerate(levels):
            last = i == len(levels) - 1  # the deepest level keeps its length
            self.downs.append(
                nn.ModuleList(
                    [
                        ResidualTemporalBlock(c_in, c_out, dim),
                        ResidualTemporalBlock(c_out, c_out, dim),
                        *self._slot(c_out, attention),
                        nn.Identity() if last else Downsample1d(c_out),
                    ]
                )
            )
        middle = levels[-1][1]
        for c_out, c_in in reversed(levels[1:]):  # the way up turns each level's pair around
            self.ups.append(
                nn.ModuleList(
                    [
                        ResidualTemporalBlock(2 * c_in, c_out, dim),
                        ResidualTemporalBlock(c_out, c_out, dim),
                        *self._slot(c_out, attention),
                        Upsample1d(c_out),
                    ]
                )
            )
        self.mid_block1 = ResidualTemporalBlock(middle, middle, dim)
        self.mid_attn = attention_slot(middle, attention)
        self.mid_block2 = ResidualTemporalBlock(middle, middle, dim)
        self.final_conv = nn.Sequential(Conv1dBlock(dim, dim), nn.Conv1d(dim, transition_dim, 1))

    def _slot(self, channels: int, attention: bool) -> list[nn.Module]:
        """The slot as a list, so that a layout without it can leave the resampling one index earlier."""
        return [attention_slot(channels, attention)]

    def forward(self, x: Tensor, cond: object, t: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        t = self.time_mlp(t.to(x.dtype))
        skips = []
        for block1, block2, *slot, downsample in self.downs:
            y = block2(block1(y, t), t)
            for attention in slot:
                y = attention(y)
            skips.append(y)
            y = downsample(y)
        y = self.mid_block2(self.mid_attn(self.mid_block1(y, t)), t)
        for block1, block2, *slot, upsample in self.ups:
            y = block2(block1(torch.cat([y, skips.pop()], dim=1), t), t)
            for attention in slot:
                y = attention(y)
            y = upsample(y)
        return self.final_conv(y).transpose(1, 2)


class Maze2dTemporalUnet(TemporalUnet):
    """The denoiser, maze2d layout: a level is [block, block, resample], with no attention anywhere."""

    def __init__(
        self,
        horizon: int,
        transition_dim: int,
        cond_dim: int,
        dim: int = 32,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
    ) -> None:
        super().__init__(horizon, transition_dim, cond_dim, dim, dim_mults)

    def _slot(self, channels: int, attention: bool) -> list[nn.Module]:
        return []


def value_head(
    channels: int, horizon: int, time_dim: int, sized_for: int, halvings: int, out_dim: int
) -> nn.Sequential:
    """[flat, time embedding] -> [B, out_dim]; linear layers are entries 0 and 2.

    sized_for: the time steps that the original's constructor counts, rounding down; halvings: the stride-2
    convolutions before the head, which round up. Where the two differ the head does not fit what it gets, so that
    no such network can have been trained: it is refused here.
    """
    length = horizon
    for _ in range(halvings):
        length = (length + 1) // 2
    if length != sized_for:
        raise ValueError(
            f"a value network with {halvings} halvings cannot have horizon {horizon}: its head would expect "
            f"{sized_for} time steps and get {length}"
        )
    fan_in = channels * length
    return nn.Sequential(nn.Linear(fan_in + time_dim, fan_in // 2), nn.Mish(), nn.Linear(fan_in // 2, out_dim))


class ValueFunction(nn.Module):
    """The return predictor, main layout: [B, H, D] -> [B, out_dim].

    Half a U-Net in which every level downsamples, then two more stages at 1/2 and 1/4 of its channels, each
    followed by a downsample, then a two-layer head that sees the time embedding again.
    """

    def __init__(
        self,
        horizon: int,
        transition_dim: int,
        cond_dim: int,
        dim: int = 32,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        out_dim: int = 1,
    ) -> None:
        super().__init__()
        levels = level_pairs(transition_dim, dim, dim_mults)
        wide = levels[-1][1]
        self.time_mlp = time_embedding(dim)
        self.blocks = value_levels(levels, dim)
        self.mid_block1 = ResidualTemporalBlock(wide, wide // 2, dim)
        self.mid_down1 = Downsample1d(wide // 2)
        self.mid_block2 = ResidualTemporalBlock(wide // 2, wide // 4, dim)
        self.mid_down2 = Downsample1d(wide // 4)
        # The constructor halves once for each level but the last, and once for each middle stage; yet the last level
        # has a convolution of stride 2 like the others.
        sized_for = max(horizon >> (len(levels) + 1), 1)
        self.final_block = value_head(wide // 4, horizon, dim, sized_for, len(levels) + 2, out_dim)

    def forward(self, x: Tensor, cond: object, t: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        t = self.time_mlp(t.to(x.dtype))
        for block1, block2, downsample in self.blocks:
            y = downsample(block2(block1(y, t), t))
        y = self.mid_down1(self.mid_block1(y, t))
        y = self.mid_down2(self.mid_block2(y, t))
        return self.final_block(torch.cat([y.flatten(1), t], dim=-1))


class TemporalValue(nn.Module):
    """The return predictor, maze2d layout: ValueFunction without its two middle stages."""

    def __init__(
        self,
        horizon: int,
        transition_dim: int,
        cond_dim: int,
        dim: int = 32,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        out_dim: int = 1,
    ) -> None:
        super().__init__()
        levels = level_pairs(transition_dim, dim, dim_mults)
        self.time_mlp = time_embedding(dim)
        self.blocks = value_levels(levels, dim)
        sized_for = max(horizon >> len(levels), 1)
        self.final_block = value_head(levels[-1][1], horizon, dim, sized_for, len(levels), out_dim)

    def forward(self, x: Tensor, cond: object, t: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        t = self.time_mlp(t.to(x.dtype))
        for block1, block2, downsample in self.blocks:
            y = downsample(block2(block1(y, t), t))
        return self.final_block(torch.cat([y.flatten(1), t], dim=-1))


def value_levels(levels: list[tuple[int, int]], time_dim: int) -> nn.ModuleList:
    """The downward half of a value network: [block, block, downsample] for every level."""
    return nn.ModuleList(
        nn.ModuleList(
            [
                ResidualTemporalBlock(c_in, c_out, time_dim),
                ResidualTemporalBlock(c_out, c_out, time_dim),
                Downsample1d(c_out),
            ]
        )
        for c_in, c_out in levels
    )
