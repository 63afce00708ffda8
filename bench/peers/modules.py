"""What compilers and exporters are given: a network with all the arithmetic of its step around it, as an nn.Module.

backends/reference.py says what an op means and is used where it is fast already; what runs faster elsewhere when it is
written another way is written that way here: a convolution pads inside its own call, the adjoint of a stride-1
convolution is a convolution with flipped weights, a dense layer is a matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from diffuser_fast.backends.reference import OPS
from diffuser_fast.core.passes import vjp
from diffuser_fast.core.program import Op, Program, Shape

from ..problem import Problem


class PlanModule(nn.Module):
    """One role of assembled.py: ``forward`` takes what ``inputs`` gives for it and returns a tuple.

    form: the class of the networks; default ``ProgramModule``.
    """

    def __init__(self, problem: Problem, role: str, form: type[nn.Module] | None = None) -> None:
        super().__init__()
        loop = problem.loop
        network = loop.denoiser if role in ("step", "denoise") else loop.guide
        program = vjp(network.program) if role in ("gradient", "climb") else network.program
        self.role, self.net = role, (form or ProgramModule)(program, network.weights)
        self.register_buffer("mask", torch.tensor(problem.inpainting.mask))
        self.bounds = [] if loop.clip is None else ["lo", "hi"]
        for name, bound in zip(self.bounds, loop.clip or (), strict=True):
            self.register_buffer(name, torch.tensor(bound))

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """As the role's method below."""
        return getattr(self, self.role)(*arrays)

    def step(self, row: Tensor, x: Tensor) -> tuple[Tensor]:
        """The denoiser alone. x: ``[B, H, D]``."""
        return (self.net(row, x.transpose(1, 2))[0].transpose(1, 2),)

    def gradient(self, row: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The value ``[B]`` and its gradient, by the gradient's Program."""
        values, gradient = self.net(row, x.transpose(1, 2), x.new_ones(len(x), 1, 1))
        return values[:, 0, 0], gradient.transpose(1, 2)

    def value(self, row: Tensor, x: Tensor) -> tuple[Tensor]:
        """The value alone, where the last step is not guided."""
        return (self.net(row, x.transpose(1, 2))[0][:, 0, 0],)

    def denoise(self, row: Tensor, x: Tensor, c: Tensor, noise: Tensor, given: Tensor) -> tuple[Tensor]:
        """Network, clip, update, inpainting: one unguided denoising step. c: its a, b, s."""
        (x0,) = self.step(row, x)
        if self.bounds:
            x0 = torch.minimum(torch.maximum(x0, self.lo), self.hi)
        return (torch.where(self.mask, given, c[0] * x0 + c[1] * x + c[2] * noise),)

    def climb(self, row: Tensor, x: Tensor, gx: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """One guide step: the value's gradient, the move, inpainting. gx: ``[1]``."""
        values, gradient = self.gradient(row, x)
        return torch.where(self.mask, given, x + gx * gradient), values


class ProgramModule(nn.Module):
    """``forward(row [S], *inputs [B, C, H])`` -> tuple of outputs ``[B, C, H]``; unfused Programs only."""

    def __init__(self, program: Program, weights: Mapping[str, NDArray]) -> None:
        super().__init__()
        self.program = program
        self.layers = nn.ModuleList(self.layer(op, program.shapes, weights) for op in program.ops).requires_grad_(False)

    @staticmethod
    def layer(op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> nn.Module:
        """An op as a module: ``(row, [inputs])`` -> output."""
        return (_Conv if op.kind == "conv" else Layer)(op, shapes, weights)

    def forward(self, row: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """In the order of the ops."""
        values = dict(zip(self.program.inputs.values(), inputs, strict=True))
        for op, layer in zip(self.program.ops, self.layers, strict=True):
            values[op.outs[0]] = layer(row, [values[i] for i in op.ins])
        return tuple(values[i] for i in self.program.outputs.values())


class Layer(nn.Module):
    """An op and its weights, as parameters: compilers may freeze them."""

    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__()
        self.op, self.made = SimpleNamespace(kind=op.kind, attrs=dict(op.attrs)), shapes[op.outs[0]]
        self.run = FASTER.get(op.kind, OPS[op.kind])
        self.weights = nn.ParameterList(torch.tensor(weights[name]) for name in op.weights)

    def forward(self, row: Tensor, ins: list[Tensor]) -> Tensor:
        return self.run(self.op, self.made, ins, list(self.weights), row)


class _Conv(Layer):
    """Any convolution of one input, as the native call that does it."""

    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray]) -> None:
        super().__init__(op, shapes, weights)
        w, length, made = self.weights[0], shapes[op.ins[0]][1], self.made[1]
        k, stride, pad, transposed = (op.attrs[name] for name in ("k", "stride", "pad", "transposed"))
        self.call, self.options = F.conv1d, (stride, pad)
        if not transposed and k == length and not pad and made == 1:
            self.call, w = F.linear, w.flatten(1)
        elif transposed and length == 1 and not pad and made == k:
            self.call, w = F.linear, w.flatten(1).T
        elif transposed and stride == 1:
            w, self.options = w.transpose(0, 1).flip(-1), (1, k - 1 - pad)
        elif transposed:
            # The adjoint of a strided convolution may be longer than the usual transposed one.
            extra = made - ((length - 1) * stride - 2 * pad + k)
            self.call, self.options = F.conv_transpose1d, (stride, pad, extra)
        self.weights[0] = nn.Parameter(w.detach().contiguous())

    def forward(self, row: Tensor, ins: list[Tensor]) -> Tensor:
        (x,), (w, *bias) = ins, self.weights
        if self.call is F.linear:
            return F.linear(x.flatten(1), w, *bias).reshape(len(x), *self.made)
        return self.call(x, w, bias[0] if bias else None, *self.options)


def _linear_attention(op: Op, made: Shape, ins: list[Tensor], weights: list[Tensor], row: Tensor) -> Tensor:
    """Matrix products for the two sums."""
    batch, channels, length = ins[0].shape
    q, k, v = ins[0].reshape(batch, 3, op.attrs["heads"], -1, length).unbind(1)
    context = k.softmax(dim=-1) @ v.transpose(-1, -2)
    return (context.transpose(-1, -2) @ (q * op.attrs["q_scale"])).reshape(batch, channels // 3, length)


def _act_vjp(op: Op, made: Shape, ins: list[Tensor], weights: list[Tensor], row: Tensor) -> Tensor:
    """With w = e^x: tanh(softplus(x)) = n / (n + 2), n = w (w + 2); sigmoid(x) = w / (w + 1). One exponential instead
    of four; beyond 20 both are 1 in float32."""
    x, dy = ins
    w = torch.exp(torch.clamp(x, max=20.0))
    n = w * (w + 2)
    t = n / (n + 2)
    return dy * (t + x * (w / (w + 1)) * (1 - t * t))


FASTER = {"linear_attention": _linear_attention, "act_vjp": _act_vjp}
