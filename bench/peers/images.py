"""Programs for engines that are made for pictures: values are ``[B, C, 1, H]``, a convolution has one row of taps.

ONNX Runtime and LiteRT run these faster than the same network over ``[B, C, H]``. What converters lack or
get wrong is spelled out: Mish and GroupNorm by elementary operations, the adjoint of a strided convolution by phases.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from diffuser_fast.backends.reference import OPS
from diffuser_fast.core.program import Op, Shape

from .modules import FASTER, Layer, ProgramModule


class ImageModule(ProgramModule):
    """The same function; inside, values are pictures."""

    @staticmethod
    def layer(op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> nn.Module:
        """On pictures."""
        return (_Conv if op.kind == "conv" else _Layer)(op, shapes, weights)

    def forward(self, row: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """In the order of the ops."""
        found = super().forward(row, *(x.unsqueeze(2) for x in inputs))
        return tuple(y.squeeze(2) for y in found)


class _Layer(Layer):
    def forward(self, row: Tensor, ins: list[Tensor]) -> Tensor:
        if self.op.kind in IMAGES:
            return IMAGES[self.op.kind](self.op, self.made, ins, list(self.weights), row)
        return super().forward(row, [x.squeeze(2) for x in ins]).unsqueeze(2)


class _Conv(_Layer):
    """A convolution of one input."""

    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__(op, shapes, weights)
        w, length = self.weights[0], shapes[op.ins[0]][1]
        self.k, self.stride, self.pad, transposed = (op.attrs[name] for name in ("k", "stride", "pad", "transposed"))
        self.form = "taps"
        if not transposed and self.k == length and not self.pad and self.made[1] == 1:
            self.form, w = "dense", w.flatten(1)
        elif transposed and length == 1 and not self.pad and self.made[1] == self.k:
            self.form, w = "dense", w.flatten(1).T
        elif transposed and self.stride == 1:
            w, self.pad = w.transpose(0, 1).flip(-1)[:, :, None], self.k - 1 - self.pad
        elif transposed:
            self.form, w = "phases", w.permute(2, 1, 0).flatten(0, 1)[:, :, None, None]  # [taps x out, in, 1, 1]
        else:
            w = w[:, :, None]
        self.weights[0] = nn.Parameter(w.detach().contiguous())

    def forward(self, row: Tensor, ins: list[Tensor]) -> Tensor:
        (x,), (w, *bias) = ins, self.weights
        if self.form == "dense":
            return F.linear(x.flatten(1), w, *bias).reshape(len(x), self.made[0], 1, self.made[1])
        if self.form == "taps":
            return F.conv2d(x, w, bias[0] if bias else None, (1, self.stride), (0, self.pad))
        y = self._phases(F.conv2d(x, w))
        return y + bias[0][:, None, None] if bias else y

    def _phases(self, y: Tensor) -> Tensor:
        """Of products per tap ``[B, taps x C, 1, h]``: out[i stride - pad + tap] += y[tap, i], phase by phase."""
        channels, made = self.made
        each, phases = -(-made // self.stride), []
        for phase in range(self.stride):
            total = None
            for tap in range((phase + self.pad) % self.stride, self.k, self.stride):
                ahead = (phase + self.pad - tap) // self.stride
                part = y[:, tap * channels : (tap + 1) * channels, :, max(ahead, 0) : each + ahead]
                before = max(-ahead, 0)
                part = F.pad(part, (before, each - before - part.shape[-1]))
                total = part if total is None else total + part
            phases.append(torch.zeros_like(phases[0]) if total is None else total)
        return torch.stack(phases, dim=-1).reshape(len(y), channels, 1, -1)[..., :made]


def _mish(op: Op, made: Shape, ins: list[Tensor], weights: list[Tensor], row: Tensor) -> Tensor:
    w = torch.exp(torch.clamp(ins[0], max=20.0))
    n = w * (w + 2)
    return ins[0] * (n / (n + 2))


def _normalised(op: Op, x: Tensor) -> tuple[Tensor, Tensor]:
    grouped = x.reshape(len(x), op.attrs["groups"], -1)
    grouped = grouped - grouped.mean(2, keepdim=True)
    r = torch.rsqrt((grouped * grouped).mean(2, keepdim=True) + op.attrs["eps"])
    return grouped * r, r


def _group_norm(op: Op, made: Shape, ins: list[Tensor], weights: list[Tensor], row: Tensor) -> Tensor:
    gamma, beta = (w[:, None, None] for w in weights)
    return _normalised(op, ins[0])[0].reshape(ins[0].shape) * gamma + beta


def _group_norm_vjp(op: Op, made: Shape, ins: list[Tensor], weights: list[Tensor], row: Tensor) -> Tensor:
    n, r = _normalised(op, ins[0])
    d = (ins[1] * weights[0][:, None, None]).reshape(n.shape)
    return (r * (d - d.mean(2, keepdim=True) - n * (d * n).mean(2, keepdim=True))).reshape(ins[0].shape)


def _step_bias(op: Op, made: Shape, ins: list[Tensor], weights: list[Tensor], row: Tensor) -> Tensor:
    at = op.attrs["table"]
    return ins[0] + row[at : at + made[0]][:, None, None]


IMAGES = {
    "act": _mish,
    "act_vjp": FASTER["act_vjp"],
    "group_norm": _group_norm,
    "group_norm_vjp": _group_norm_vjp,
    "step_bias": _step_bias,
    **{kind: OPS[kind] for kind in ("add", "concat", "slice")},
}
