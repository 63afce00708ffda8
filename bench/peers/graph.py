"""A Program as an nn.Module of torch's native layers: what exporters and compilers are given.

backends/reference.py says what an op means; here the same function is written the way it runs fastest elsewhere: a
convolution pads inside its own call, the adjoint of a stride-1 convolution is a convolution with flipped weights, and a
dense layer is a matrix product. The value's gradient is a Program too, so it exports as an ordinary forward graph.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from diffuser_fast.core.program import Op, Program, Shape


class ProgramModule(nn.Module):
    """``forward(row [S], *inputs [B, C, H])`` -> tuple of outputs; unfused Programs only."""

    def __init__(self, program: Program, weights: Mapping[str, NDArray]) -> None:
        super().__init__()
        self.program = program
        self.layers = nn.ModuleList(_layer(op, program.shapes, weights) for op in program.ops)

    def forward(self, row: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """In the order of the ops."""
        values = dict(zip(self.program.inputs.values(), inputs, strict=True))
        for op, layer in zip(self.program.ops, self.layers, strict=True):
            ins = [values[i] for i in op.ins]
            values[op.outs[0]] = layer(row, *ins) if op.kind == "step_bias" else layer(*ins)
        return tuple(values[i] for i in self.program.outputs.values())


class _Conv(nn.Module):
    """Any conv op of one input, as the native call that does it."""

    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__()
        w = torch.tensor(weights[op.weights[0]])
        bias = torch.tensor(weights[op.weights[1]]) if len(op.weights) > 1 else None
        k, stride, pad, transposed = (op.attrs[name] for name in ("k", "stride", "pad", "transposed"))
        length, self.shape = shapes[op.ins[0]][1], shapes[op.outs[0]]
        self.extra = 0
        if not transposed and k == length and not pad and self.shape[1] == 1:
            self.how, w = "dense", w.flatten(1)
        elif transposed and length == 1 and not pad and self.shape[1] == k:
            self.how, w = "dense", w.flatten(1).T
        elif transposed and stride == 1:
            self.how, w, transposed, pad = "conv", w.transpose(0, 1).flip(-1), False, k - 1 - pad
        elif transposed:
            # The adjoint of a strided convolution may be longer than the usual transposed one.
            self.how, self.extra = "transposed", self.shape[1] - ((length - 1) * stride - 2 * pad + k)
        else:
            self.how = "conv"
        self.stride, self.pad = stride, pad
        self.weight = nn.Parameter(w.contiguous(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: ``[B, C, H]``."""
        if self.how == "dense":
            return F.linear(x.flatten(1), self.weight, self.bias).reshape(len(x), *self.shape)
        if self.how == "conv":
            return F.conv1d(x, self.weight, self.bias, self.stride, self.pad)
        return F.conv_transpose1d(x, self.weight, self.bias, self.stride, self.pad, self.extra)


class _GroupNorm(nn.GroupNorm):
    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__(op.attrs["groups"], shapes[op.outs[0]][0], op.attrs["eps"])
        _take(self, op, weights)


class _ChannelNorm(nn.LayerNorm):
    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__(shapes[op.outs[0]][0], op.attrs["eps"])
        _take(self, op, weights)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class _GroupNormVjp(nn.Module):
    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__()
        self.groups, self.eps = op.attrs["groups"], op.attrs["eps"]
        self.gamma = nn.Parameter(torch.tensor(weights[op.weights[0]])[:, None], requires_grad=False)

    def forward(self, x: Tensor, dy: Tensor) -> Tensor:
        grouped = x.reshape(len(x), self.groups, -1)
        centred = grouped - grouped.mean(-1, keepdim=True)
        r = torch.rsqrt(centred.square().mean(-1, keepdim=True) + self.eps)
        n = centred * r
        d = (dy * self.gamma).reshape(grouped.shape)
        return (r * (d - d.mean(-1, keepdim=True) - n * (d * n).mean(-1, keepdim=True))).reshape(x.shape)


class _LinearAttention(nn.Module):
    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__()
        self.heads, self.scale = op.attrs["heads"], op.attrs["q_scale"]

    def forward(self, qkv: Tensor) -> Tensor:
        batch, channels, length = qkv.shape
        q, k, v = qkv.reshape(batch, 3, self.heads, channels // 3 // self.heads, length).unbind(1)
        context = k.softmax(dim=-1) @ v.transpose(-1, -2)
        return (context.transpose(-1, -2) @ (q * self.scale)).reshape(batch, channels // 3, length)


class _StepBias(nn.Module):
    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__()
        self.at, self.channels = op.attrs["table"], shapes[op.outs[0]][0]

    def forward(self, row: Tensor, x: Tensor) -> Tensor:
        return x + row[self.at : self.at + self.channels, None]


class _Plain(nn.Module):
    """Ops without weights."""

    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__()
        self.kind, self.channels, self.lo = op.kind, shapes[op.outs[0]][0], op.attrs.get("lo", 0)
        if op.attrs.get("act", "mish") != "mish":
            raise ValueError(f"act: peers have mish, found {op.attrs['act']}")

    def forward(self, *ins: Tensor) -> Tensor:
        if self.kind == "act":
            return F.mish(ins[0])
        if self.kind == "act_vjp":
            # With w = e^x: tanh(softplus(x)) = n / (n + 2), n = w (w + 2); sigmoid(x) = w / (w + 1). One exponential
            # instead of four; beyond 20 both are 1 in float32.
            x, dy = ins
            w = torch.exp(torch.clamp(x, max=20.0))
            n = w * (w + 2)
            t = n / (n + 2)
            return dy * (t + x * (w / (w + 1)) * (1 - t * t))
        if self.kind == "add":
            return ins[0] + ins[1]
        if self.kind == "concat":
            return torch.cat(ins, dim=1)
        return ins[0][:, self.lo : self.lo + self.channels]


_LAYERS = {
    "conv": _Conv, "group_norm": _GroupNorm, "channel_norm": _ChannelNorm, "group_norm_vjp": _GroupNormVjp,
    "linear_attention": _LinearAttention, "step_bias": _StepBias,
    **dict.fromkeys(("act", "act_vjp", "add", "concat", "slice"), _Plain),
}  # fmt: skip


def _layer(op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> nn.Module:
    return _LAYERS[op.kind](op, shapes, weights)


def _take(norm: nn.Module, op: Op, weights: Mapping[str, NDArray]) -> None:
    with torch.no_grad():
        for parameter, name in zip((norm.weight, norm.bias), op.weights, strict=True):
            parameter.copy_(torch.tensor(weights[name]))
            parameter.requires_grad_(False)
