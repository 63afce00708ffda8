"""What compilers and exporters are given: a network with all the arithmetic of its step around it, as an nn.Module.

backends/reference.py says what an op means and is used where it is fast already; what runs faster elsewhere when it is
written another way is written that way here: a convolution pads inside its own call, the adjoint of a stride-1
convolution is a convolution with flipped weights, a dense layer is a matrix product.

Networks have two forms. In "rows" values are ``[B, C, H]``. In "images" they are ``[B, C, 1, H]`` and a convolution has
one row of taps, for engines that are made for pictures: ONNX Runtime, LiteRT and MNN run these faster. There, what
converters lack or get wrong is spelled out: Mish and GroupNorm by elementary operations, the adjoint of a strided
convolution by phases.
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
    """One role of assembled.py: ``forward`` takes what ``inputs`` gives for it and returns a tuple. form: see above."""

    def __init__(self, problem: Problem, role: str, form: str = "rows") -> None:
        super().__init__()
        loop = problem.loop
        network = loop.denoiser if role in ("step", "denoise") else loop.guide
        program = vjp(network.program) if role in ("gradient", "climb") else network.program
        self.role, self.net = role, ProgramModule(program, network.weights, form)
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

    def __init__(self, program: Program, weights: Mapping[str, NDArray], form: str) -> None:
        super().__init__()
        self.program, self.images = program, form == "images"
        made = (
            (_Conv if op.kind == "conv" else _Layer)(op, program.shapes, weights, self.images) for op in program.ops
        )
        self.layers = nn.ModuleList(made).requires_grad_(False)

    def forward(self, row: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """In the order of the ops."""
        if self.images:
            inputs = tuple(x.unsqueeze(2) for x in inputs)
        values = dict(zip(self.program.inputs.values(), inputs, strict=True))
        for op, layer in zip(self.program.ops, self.layers, strict=True):
            values[op.outs[0]] = layer(row, [values[i] for i in op.ins])
        found = tuple(values[i] for i in self.program.outputs.values())
        return tuple(y.squeeze(2) for y in found) if self.images else found


class _Layer(nn.Module):
    """An op and its weights, as parameters: compilers may freeze them. ``(row, [inputs])`` -> output."""

    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray], images: bool) -> None:
        super().__init__()
        self.op, self.made, self.images = (
            SimpleNamespace(kind=op.kind, attrs=dict(op.attrs)),
            shapes[op.outs[0]],
            images,
        )
        self.weights = nn.ParameterList(torch.tensor(weights[name]) for name in op.weights)

    def forward(self, row: Tensor, ins: list[Tensor]) -> Tensor:
        kind, weights = self.op.kind, list(self.weights)
        if self.images and kind in IMAGES:
            return IMAGES[kind](self.op, self.made, ins, weights, row)
        run = ROWS.get(kind, OPS[kind])
        if not self.images:
            return run(self.op, self.made, ins, weights, row)
        return run(self.op, self.made, [x.squeeze(2) for x in ins], weights, row).unsqueeze(2)


class _Conv(_Layer):
    """Any convolution of one input, as the native call that does it."""

    def __init__(self, op: Op, shapes: tuple[Shape, ...], weights: Mapping[str, NDArray], images: bool) -> None:
        super().__init__(op, shapes, weights, images)
        w, length, made = self.weights[0], shapes[op.ins[0]][1], self.made[1]
        k, stride, pad, transposed = (op.attrs[name] for name in ("k", "stride", "pad", "transposed"))
        self.call, self.phases = F.conv2d if images else F.conv1d, None
        if not transposed and k == length and not pad and made == 1:
            self.call, w = F.linear, w.flatten(1)
        elif transposed and length == 1 and not pad and made == k:
            self.call, w = F.linear, w.flatten(1).T
        elif transposed and stride == 1:
            w, pad = w.transpose(0, 1).flip(-1), k - 1 - pad
        elif transposed and images:
            w, self.phases, stride, pad = w.permute(2, 1, 0).flatten(0, 1)[:, :, None], (k, stride, pad), 1, 0
        elif transposed:
            self.call = F.conv_transpose1d
        self.options = ((1, stride), (0, pad)) if images else (stride, pad)
        if self.call is F.conv_transpose1d:  # the adjoint of a strided one may be longer than the usual transposed one
            self.options += (made - ((length - 1) * stride - 2 * pad + k),)
        w = w[:, :, None] if self.call is F.conv2d else w
        self.weights[0] = nn.Parameter(w.detach().contiguous())

    def forward(self, row: Tensor, ins: list[Tensor]) -> Tensor:
        (x,), (w, *bias), (channels, length) = ins, self.weights, self.made
        if self.call is F.linear:
            return F.linear(x.flatten(1), w, *bias).reshape(len(x), channels, *[1] * self.images, length)
        if self.phases is None:
            return self.call(x, w, bias[0] if bias else None, *self.options)
        y = self._added_up(F.conv2d(x, w), *self.phases)
        return y + bias[0][:, None, None] if bias else y

    def _added_up(self, y: Tensor, k: int, stride: int, pad: int) -> Tensor:
        """Of products per tap ``[B, taps x C, 1, h]``: out[i stride - pad + tap] += y[tap, i], phase by phase."""
        channels, made = self.made
        each, phases = -(-made // stride), []
        for phase in range(stride):
            total = None
            for tap in range((phase + pad) % stride, k, stride):
                ahead = (phase + pad - tap) // stride
                part = y[:, tap * channels : (tap + 1) * channels, :, max(ahead, 0) : each + ahead]
                before = max(-ahead, 0)
                part = F.pad(part, (before, each - before - part.shape[-1]))
                total = part if total is None else total + part
            phases.append(torch.zeros_like(phases[0]) if total is None else total)
        return torch.stack(phases, dim=-1).reshape(len(y), channels, 1, -1)[..., :made]


def _linear_attention(op: Op, made: Shape, ins: list[Tensor], weights: list[Tensor], row: Tensor) -> Tensor:
    """Matrix products for the two sums."""
    batch, channels, length = ins[0].shape
    q, k, v = ins[0].reshape(batch, 3, op.attrs["heads"], -1, length).unbind(1)
    context = k.softmax(dim=-1) @ v.transpose(-1, -2)
    return (context.transpose(-1, -2) @ (q * op.attrs["q_scale"])).reshape(batch, channels // 3, length)


def _tanh_softplus(x: Tensor) -> tuple[Tensor, Tensor]:
    """And e^x = w: tanh(softplus(x)) = n / (n + 2), n = w (w + 2). One exponential; beyond 20 it is 1 in float32."""
    w = torch.exp(torch.clamp(x, max=20.0))
    n = w * (w + 2)
    return n / (n + 2), w


def _act_vjp(op: Op, made: Shape, ins: list[Tensor], weights: list[Tensor], row: Tensor) -> Tensor:
    """With sigmoid(x) = w / (w + 1)."""
    (x, dy), (t, w) = ins, _tanh_softplus(ins[0])
    return dy * (t + x * (w / (w + 1)) * (1 - t * t))


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


ROWS = {"linear_attention": _linear_attention, "act_vjp": _act_vjp}
IMAGES = {
    "act": lambda op, made, ins, weights, row: ins[0] * _tanh_softplus(ins[0])[0],
    "act_vjp": _act_vjp,
    "group_norm": _group_norm,
    "group_norm_vjp": _group_norm_vjp,
    "step_bias": _step_bias,
    **{kind: OPS[kind] for kind in ("add", "concat", "slice")},
}
