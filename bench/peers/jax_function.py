"""A whole workload, the sampling loop of a plan included, as one function of jax.

Channels come last and a convolution is one matrix product over its unfolded taps: XLA's own convolutions are several
times slower at these sizes. The gradient is the Program that passes make: jax's own of the value is slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from diffuser_fast.core.passes import vjp
from diffuser_fast.core.program import Op, Program, Shape

from ..problem import Problem


def function(problem: Problem) -> tuple[Callable[..., tuple[Any, ...]], Any]:
    """A workload as a function of its weights and of ``fresh``'s arrays (xla.py), and the weights."""
    return (_plan if problem.x is None else _single)(problem)


def _single(problem: Problem) -> tuple[Any, Any]:
    """One evaluation of a network."""
    gradient, network = problem.workload.kind == "gradient", problem.network
    net = Network(vjp(network.program) if gradient else network.program, network.weights)

    def function(weights: Any, row: Any, x: Any) -> tuple[Any, ...]:
        return _gradient(net, weights, row, x) if gradient else net(weights, row, x)

    return function, net.weights


def _plan(problem: Problem) -> tuple[Any, Any]:
    """The sampling loop, as ``core/loop.py`` defines it, for samplers of one step."""
    loop, steps, inpainting = problem.loop, problem.loop.steps, problem.inpainting
    if steps.d.any() or steps.g0.any():
        raise ValueError("jax: the loop is written for samplers of one step")
    net, guide = Network(loop.denoiser.program, loop.denoiser.weights), loop.guide
    given = {"net": net.weights, "tables": loop.denoiser.tables.per_step[:, 0]}
    if guide is not None:
        value, climb = Network(guide.program, guide.weights), Network(vjp(guide.program), guide.weights)
        given |= {"value": value.weights, "climb": climb.weights, "guide_tables": guide.tables.per_step[:, 0]}
    columns = {name: getattr(steps, name).astype(np.float32) for name in ("p", "q", "a", "b", "s", "gx")}
    times, last = jnp.asarray(steps.guide_steps), loop.rows - 1
    mask = inpainting.mask.astype(np.float32)

    def project(x: Any, values: Any) -> Any:
        return mask * values + (1 - mask) * x  # where() by bits is what IREE cannot tile

    def function(g: Any, tape: Any, values: Any) -> tuple[Any, ...]:
        c = {name: jnp.asarray(column) for name, column in columns.items()}

        def guided(k: Any, x: Any) -> tuple[Any, Any]:
            def step(_: Any, carried: tuple[Any, Any]) -> tuple[Any, Any]:
                found, gradient = _gradient(climb, g["climb"], g["guide_tables"][k], carried[0])
                return project(carried[0] + c["gx"][k] * gradient, values), found

            return lax.fori_loop(0, times[k], step, (x, jnp.zeros(len(x), jnp.float32)))

        def denoise(k: Any, x: Any) -> Any:
            x0 = c["p"][k] * x + c["q"][k] * net(g["net"], g["tables"][k], x)[0]
            x0 = jnp.clip(x0, *loop.clip) if loop.clip else x0
            return project(c["a"][k] * x0 + c["b"][k] * x + c["s"][k] * tape[k + 1], values)

        def row(k: Any, x: Any) -> Any:
            return denoise(k, guided(k, x)[0] if guide is not None else x)

        x = lax.fori_loop(0, last, row, project(tape[0], values))
        if guide is None:
            return (denoise(last, x),)
        x, found = guided(last, x)
        if not steps.guide_steps[last]:
            found = value(g["value"], g["guide_tables"][last], x)[0][:, 0, 0]
        return denoise(last, x), found

    return function, given


def _gradient(net: Network, weights: Any, row: Any, x: Any) -> tuple[Any, Any]:
    values, gradient = net(weights, row, x, jnp.ones((len(x), 1, 1), jnp.float32))
    return values[:, 0, 0], gradient


class Network:
    """A Program as a function of jax arrays ``[B, H, C]``; ``weights``: what it is called with, per op."""

    def __init__(self, program: Program, weights: Mapping[str, NDArray]) -> None:
        self.program = program
        self.weights = [_prepared(op, program.shapes, [weights[name] for name in op.weights]) for op in program.ops]

    def __call__(self, weights: Any, row: Any, *inputs: Any) -> tuple[Any, ...]:
        values = dict(zip(self.program.inputs.values(), inputs, strict=True))
        for op, own in zip(self.program.ops, weights, strict=True):
            shape = self.program.shapes[op.outs[0]]
            values[op.outs[0]] = OPS[op.kind](op, shape, [values[i] for i in op.ins], own, row)
        return tuple(values[i] for i in self.program.outputs.values())


def _prepared(op: Op, shapes: tuple[Shape, ...], weights: list[NDArray]) -> list[NDArray]:
    """A convolution's weight as the matrix that ``_conv`` multiplies by."""
    if op.kind != "conv":
        return weights
    w, length, k = weights[0], shapes[op.ins[0]][1], op.attrs["k"]
    if op.attrs["transposed"] and (op.attrs["stride"] > 1 or (length == 1 and shapes[op.outs[0]][1] == k)):
        w = w.transpose(0, 2, 1).reshape(len(w), -1)  # [in, taps x out]; the second is a dense layer's adjoint
    elif op.attrs["transposed"]:
        w = w[:, :, ::-1].transpose(2, 0, 1).reshape(-1, w.shape[1])  # [taps x in, out]
    else:
        w = w.transpose(2, 1, 0).reshape(-1, len(w))
    return [np.ascontiguousarray(w), *weights[1:]]


def _conv(op: Op, shape: Shape, ins: list[Any], weights: list[Any], row: Any) -> Any:
    x, w = ins[0], weights[0]
    k, stride, pad = (op.attrs[name] for name in ("k", "stride", "pad"))
    batch, length, _ = x.shape
    channels, made = shape
    if op.attrs["transposed"] and stride > 1:
        y = _scatter((x @ w).reshape(batch, length, k, channels), made, stride, pad)
    elif op.attrs["transposed"] and length == 1 and made == k:
        y = (x[:, 0] @ w).reshape(batch, made, channels)
    else:
        pad = k - 1 - pad if op.attrs["transposed"] else pad
        x = jnp.pad(x, ((0, 0), (pad, pad), (0, 0))) if pad else x
        taps = [lax.slice_in_dim(x, i, i + stride * (made - 1) + 1, stride, axis=1) for i in range(k)]
        y = (taps[0] if k == 1 else jnp.concatenate(taps, axis=2)) @ w
    return y + weights[1] if len(weights) > 1 else y


def _scatter(y: Any, made: int, stride: int, pad: int) -> Any:
    """Of products per tap ``[B, h, k, C]``: out[i stride - pad + tap] += y[i, tap], phase by phase."""
    batch, length, k, channels = y.shape
    per_phase = -(-made // stride)
    phases = []
    for phase in range(stride):
        total = jnp.zeros((batch, per_phase, channels), y.dtype)
        for tap in range((phase + pad) % stride, k, stride):
            ahead = (phase + pad - tap) // stride  # out[j stride + phase] has y[j + ahead, tap]
            part = y[:, max(ahead, 0) : max(min(length, per_phase + ahead), 0), tap]
            before = max(-ahead, 0)
            total += jnp.pad(part, ((0, 0), (before, per_phase - before - part.shape[1]), (0, 0)))
        phases.append(total)
    return jnp.stack(phases, axis=2).reshape(batch, -1, channels)[:, :made]


def _grouped(x: Any, groups: int) -> Any:
    return x.reshape(x.shape[0], x.shape[1], groups, -1)


def _normalised(x: Any, axes: tuple[int, ...], eps: float) -> tuple[Any, Any]:
    x = x - x.mean(axes, keepdims=True)
    r = lax.rsqrt((x * x).mean(axes, keepdims=True) + eps)
    return x * r, r


def _group_norm(op: Op, shape: Shape, ins: list[Any], weights: list[Any], row: Any) -> Any:
    n, _ = _normalised(_grouped(ins[0], op.attrs["groups"]), (1, 3), op.attrs["eps"])
    return n.reshape(ins[0].shape) * weights[0] + weights[1]


def _group_norm_vjp(op: Op, shape: Shape, ins: list[Any], weights: list[Any], row: Any) -> Any:
    n, r = _normalised(_grouped(ins[0], op.attrs["groups"]), (1, 3), op.attrs["eps"])
    d = _grouped(ins[1] * weights[0], op.attrs["groups"])
    d = r * (d - d.mean((1, 3), keepdims=True) - n * (d * n).mean((1, 3), keepdims=True))
    return d.reshape(ins[0].shape)


def _channel_norm(op: Op, shape: Shape, ins: list[Any], weights: list[Any], row: Any) -> Any:
    return _normalised(ins[0], (2,), op.attrs["eps"])[0] * weights[0] + weights[1]


def _tanh_softplus(x: Any) -> tuple[Any, Any]:
    """tanh(softplus(x)) and sigmoid(x), of one exponential; beyond 20 both are 1 in float32."""
    w = jnp.exp(jnp.minimum(x, 20.0))
    n = w * (w + 2)
    return n / (n + 2), w / (w + 1)


def _act_vjp(op: Op, shape: Shape, ins: list[Any], weights: list[Any], row: Any) -> Any:
    x, dy = ins
    t, sigmoid = _tanh_softplus(x)
    return dy * (t + x * sigmoid * (1 - t * t))


def _linear_attention(op: Op, shape: Shape, ins: list[Any], weights: list[Any], row: Any) -> Any:
    batch, length, channels = ins[0].shape
    q, k, v = jnp.moveaxis(ins[0].reshape(batch, length, 3, op.attrs["heads"], -1), 2, 0)
    context = jnp.einsum("bnhd,bnhe->bhde", jax.nn.softmax(k, axis=1), v)
    return jnp.einsum("bhde,bnhd->bnhe", context, q * op.attrs["q_scale"]).reshape(batch, length, channels // 3)


OPS = {
    "conv": _conv,
    "group_norm": _group_norm,
    "group_norm_vjp": _group_norm_vjp,
    "channel_norm": _channel_norm,
    "act": lambda op, shape, ins, weights, row: ins[0] * _tanh_softplus(ins[0])[0],
    "act_vjp": _act_vjp,
    "add": lambda op, shape, ins, weights, row: ins[0] + ins[1],
    "concat": lambda op, shape, ins, weights, row: jnp.concatenate(ins, axis=2),
    "slice": lambda op, shape, ins, weights, row: ins[0][:, :, op.attrs["lo"] : op.attrs["lo"] + shape[0]],
    "step_bias": lambda op, shape, ins, weights, row: ins[0] + row[op.attrs["table"] : op.attrs["table"] + shape[0]],
    "linear_attention": _linear_attention,
}
