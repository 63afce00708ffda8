"""Linear attention along the horizon, with a channel norm before it and a skip around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer norm over the channels of [B, C, H], each time step by itself; eps is inside the root.

    `g` and `b` are [1, C, 1], which is how checkpoints store them.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.g = nn.Parameter(torch.ones(1, channels, 1))
        self.b = nn.Parameter(torch.zeros(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=1, keepdim=True)
        variance = (x - mean).square().mean(dim=1, keepdim=True)
        return (x - mean) / (variance + self.eps).sqrt() * self.g + self.b


class LinearAttention(nn.Module):
    """Attention whose cost is linear in H: softmax the keys over time, sum k v^T, only then apply q.

    [B, C, H] -> [B, C, H]. Per head, with q, k, v of shape [B, dim_head, H]:

        context[d, e] = sum_h softmax_h(k)[d, h] * v[e, h]
        out[e, h]     = sum_d context[d, e] * q[d, h] / sqrt(dim_head)
    """

    def __init__(self, channels: int, heads: int = 4, dim_head: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.scale = dim_head**-0.5
        inner = heads * dim_head
        self.to_qkv = nn.Conv1d(channels, 3 * inner, kernel_size=1, bias=False)
        self.to_out = nn.Conv1d(inner, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, length = x.shape
        # Channels of to_qkv are ordered (q | k | v), then head, then dim_head.
        q, k, v = self.to_qkv(x).reshape(batch, 3, self.heads, -1, length).unbind(dim=1)
        context = torch.einsum("bndh,bneh->bnde", k.softmax(dim=-1), v)
        out = torch.einsum("bnde,bndh->bneh", context, q * self.scale)
        return self.to_out(out.reshape(batch, -1, length))


class PreNorm(nn.Module):
    """fn(norm(x)); exists to give checkpoints their key names `norm.*` and `fn.*`."""

    def __init__(self, channels: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn
        self.norm = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class Residual(nn.Module):
    """x + fn(x): the skip carries the raw x, not the normalised one."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(x)


def attention_slot(channels: int, attention: bool) -> nn.Module:
    """What sits after each level of the main layout's U-Net: linear attention, or nothing."""
    return Residual(PreNorm(channels, LinearAttention(channels))) if attention else nn.Identity()
