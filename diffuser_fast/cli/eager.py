"""The original's networks in plain torch: what people run today, and what latencies are shown beside.

Written as the original's are: Conv1d, GroupNorm, Mish, and a time embedding evaluated at every step. They have our
weights, so what they give can be compared with an engine's. eager_loop.py samples with them.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ..core.checkpoint import Weights
from ..core.lower import HEAD_DIM, HEADS
from ..core.spec import UNetSpec, ValueSpec


class TimeEmbedding(nn.Module):
    """``t [B]`` -> ``[B, dim]``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.linear1, self.act, self.linear2 = nn.Linear(dim, 4 * dim), nn.Mish(), nn.Linear(4 * dim, dim)

    def forward(self, t: Tensor) -> Tensor:
        half = self.dim // 2
        frequency = torch.exp(torch.arange(half, device=t.device) * -(math.log(10000) / (half - 1)))
        angle = t[:, None] * frequency[None]
        return self.linear2(self.act(self.linear1(torch.cat((angle.sin(), angle.cos()), dim=-1))))


class ConvBlock(nn.Module):
    """Convolution, GroupNorm, Mish; the length stays."""

    def __init__(self, inputs: int, outputs: int, spec: UNetSpec | ValueSpec) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, spec.kernel_size, padding=spec.kernel_size // 2)
        self.norm = nn.GroupNorm(spec.groups, outputs)
        self.act = nn.Mish()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """Two ConvBlocks with the time's bias between them, plus a skip."""

    def __init__(self, inputs: int, outputs: int, spec: UNetSpec | ValueSpec) -> None:
        super().__init__()
        self.first, self.second = ConvBlock(inputs, outputs, spec), ConvBlock(outputs, outputs, spec)
        self.act, self.time = nn.Mish(), nn.Linear(spec.dim, outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = self.first(x) + self.time(self.act(t))[:, :, None]
        return self.second(y) + self.skip(x)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of ``[B, C, H]``, spelt out as in the original."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels, 1)), nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=1, unbiased=False, keepdim=True)
        return (x - mean) / (variance + self.eps).sqrt() * self.weight + self.bias


class Attention(nn.Module):
    """Linear attention over time with a norm before it, plus its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv1d(channels, 3 * HEADS * HEAD_DIM, 1, bias=False)
        self.out = nn.Conv1d(HEADS * HEAD_DIM, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, length = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, 3, HEADS, HEAD_DIM, length).unbind(1)
        context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=-1), v)
        mixed = torch.einsum("bhde,bhdn->bhen", context, q * HEAD_DIM**-0.5)
        return x + self.out(mixed.reshape(batch, -1, length))


class Level(nn.Module):
    """Two residual blocks, attention if asked for, and a resampling if there is one."""

    def __init__(self, inputs: int, outputs: int, spec: UNetSpec | ValueSpec, **resample: nn.Module) -> None:
        super().__init__()
        self.block0, self.block1 = ResidualBlock(inputs, outputs, spec), ResidualBlock(outputs, outputs, spec)
        self.attention = Attention(outputs) if getattr(spec, "attention", False) else nn.Identity()
        for name, module in resample.items():
            self.add_module(name, module)


def _down(channels: int) -> nn.Module:
    return nn.Conv1d(channels, channels, 3, stride=2, padding=1)


class EagerUNet(nn.Module):
    """The denoiser, ``(x [B, H, D], t [B]) -> [B, H, D]``."""

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        widths = [spec.transition_dim, *(spec.dim * mult for mult in spec.dim_mults)]
        last = len(spec.dim_mults) - 1
        self.time = TimeEmbedding(spec.dim)
        self.down: list[Level] = []
        self.up: list[Level] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            resample = {"downsample": _down(outputs)} if i < last else {}
            self._add(self.down, f"down{i}", Level(inputs, outputs, spec, **resample))
        wide = widths[-1]
        self.mid = nn.ModuleDict({name: ResidualBlock(wide, wide, spec) for name in ("block0", "block1")})
        self.mid["attention"] = Attention(wide) if spec.attention else nn.Identity()
        # The way up turns each level around, but for the first, whose skip is never used.
        for j, (outputs, inputs) in enumerate(reversed(list(pairwise(widths))[1:])):
            upsample = nn.ConvTranspose1d(outputs, outputs, 4, stride=2, padding=1)
            self._add(self.up, f"up{j}", Level(2 * inputs, outputs, spec, upsample=upsample))
        self.head = ConvBlock(spec.dim, spec.dim, spec)
        self.head.add_module("out", nn.Conv1d(spec.dim, spec.transition_dim, 1))

    def _add(self, levels: list[Level], name: str, level: Level) -> None:
        self.add_module(name, level)  # under the name its weights have
        levels.append(level)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x, t, skips = x.transpose(1, 2), self.time(t), []
        for level in self.down:
            x = level.attention(level.block1(level.block0(x, t), t))
            skips.append(x)
            x = level.downsample(x) if hasattr(level, "downsample") else x
        x = self.mid["block1"](self.mid["attention"](self.mid["block0"](x, t)), t)
        for level in self.up:
            x = level.block0(torch.cat((x, skips.pop()), dim=1), t)
            x = level.upsample(level.attention(level.block1(x, t)))
        return self.head.out(self.head(x)).transpose(1, 2)


class EagerValue(nn.Module):
    """The value network, ``(x [B, H, D], t [B]) -> [B]``."""

    def __init__(self, spec: ValueSpec) -> None:
        super().__init__()
        widths = [spec.transition_dim, *(spec.dim * mult for mult in spec.dim_mults)]
        self.time = TimeEmbedding(spec.dim)
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            self.add_module(f"down{i}", Level(inputs, outputs, spec, downsample=_down(outputs)))
        self.down = len(spec.dim_mults)
        width, self.middle = widths[-1], 2 if spec.middle == "narrowing" else 0
        for i in range(self.middle):
            stage = {"block": ResidualBlock(width, width // 2, spec), "downsample": _down(width // 2)}
            self.add_module(f"mid{i}", nn.ModuleDict(stage))
            width //= 2
        flat = width * -(-spec.horizon // 2 ** (self.down + self.middle))
        self.head = nn.ModuleDict(
            {
                "linear1": nn.Linear(flat + spec.dim, flat // 2),
                "act": nn.Mish(),
                "linear2": nn.Linear(flat // 2, 1),
            }
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x, t = x.transpose(1, 2), self.time(t)
        for i in range(self.down):
            level = getattr(self, f"down{i}")
            x = level.downsample(level.block1(level.block0(x, t), t))
        for i in range(self.middle):
            stage = getattr(self, f"mid{i}")
            x = stage["downsample"](stage["block"](x, t))
        hidden = self.head["act"](self.head["linear1"](torch.cat((x.flatten(1), t), dim=1)))
        return self.head["linear2"](hidden)[:, 0]


def eager_network(weights: Weights) -> EagerUNet | EagerValue:
    """The module of a network, with its weights, frozen; ValueError for one that is not the original's."""
    if not weights.spec.is_original:
        raise ValueError("eager: the original has no network like this one, which is a relative's")
    module = (EagerUNet if isinstance(weights.spec, UNetSpec) else EagerValue)(weights.spec)
    arrays = {name: np.array(array) for name, array in weights.arrays.items()}
    if isinstance(module, EagerValue):
        # In a Program the head's dense layer is split: what sees the embedding is folded into the step tables.
        parts = [arrays.pop("head.linear1.weight"), arrays.pop("head.time.weight")]
        arrays["head.linear1.weight"] = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
        arrays["head.linear1.bias"] = arrays.pop("head.time.bias")
    shapes = {name: parameter.shape for name, parameter in module.state_dict().items()}
    module.load_state_dict({name: torch.from_numpy(array).reshape(shapes[name]) for name, array in arrays.items()})
    return module.eval().requires_grad_(False)
