"""The living definition of every op and of the sampling loop, in torch: any dtype, any device, differentiable.

Nothing here is fast. Engines are judged against it, and training runs through ``run``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..core.conditions import Inpainting
from ..core.loop import Network, PlanTables, Result, SamplingLoop, not_finite, ranking
from ..core.noise import draw
from ..core.program import Op, Program, Shape
from ..core.verify import Support
from .engine import CancelledError, Noise, Schedule, Seeded

NAME = "reference"
DTYPES = {"float32": torch.float32, "float64": torch.float64}
PRECISIONS = tuple(DTYPES)
INVARIANT: frozenset[str] = frozenset()
OPTIONS: frozenset[str] = frozenset()
SCHEDULES = frozenset({"rows"})


def run(
    program: Program, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor], table: Tensor | None = None
) -> dict[str, Tensor]:
    """Evaluate a program. inputs, outputs: ``[B, C, H]`` by name; table: ``[S]`` or ``[B, S]``, of a denoising step."""
    if program.table_width and table is None:
        raise ValueError(f"table: None, and the program reads {program.table_width} columns")
    values = {v: inputs[name] for name, v in program.inputs.items()}
    for op in program.ops:
        ins = [values[i] for i in op.ins]
        out = OPS[op.kind](op, program.shapes[op.outs[0]], ins, [weights[name] for name in op.weights], table)
        values.update(zip(op.outs, out if isinstance(out, tuple) else (out,), strict=False))
    return {name: values[v] for name, v in program.outputs.items()}


def _conv(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    x, w = ins[0], weights[0]
    bias = weights[1] if len(weights) > 1 else None
    k, stride, pad = op.attrs["k"], op.attrs["stride"], op.attrs["pad"]
    if op.attrs["transposed"]:
        # The adjoint of a strided conv may be longer than the usual transposed one: its last inputs met no tap.
        usual = (x.shape[-1] - 1) * stride - 2 * pad + k
        y = F.conv_transpose1d(x, w, None, stride)[..., pad:]
        y = F.pad(y, (0, max(0, shape[1] - y.shape[-1])))[..., : shape[1]]
        assert usual <= shape[1] < usual + stride or stride == 1
        y = y if bias is None else y + bias[:, None]
    else:
        y = F.conv1d(x, w, bias, stride, pad)
    return y + ins[1] if len(ins) > 1 else y


def _group_norm(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    # Not F.group_norm, which refuses a batch of one with one number per group.
    return torch.group_norm(ins[0], op.attrs["groups"], *weights, op.attrs["eps"])


def _channel_norm(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    return F.layer_norm(ins[0].transpose(1, 2), (shape[0],), *weights, op.attrs["eps"]).transpose(1, 2)


def _act(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    return ACTS[op.attrs["act"]](ins[0])


def _step_bias(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    at = op.attrs["table"]
    return ins[0] + table[..., at : at + shape[0], None]


def _film(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    at, channels = op.attrs["table"], shape[0]
    return ins[0] * table[..., at : at + channels, None] + table[..., at + channels : at + 2 * channels, None]


def _linear_attention(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    """Softmax of the keys over time, then context[d, e] = sum_n k[d, n] v[e, n] and out[e, n] = sum_d context q."""
    batch, _, length = ins[0].shape
    q, k, v = ins[0].reshape(batch, 3, op.attrs["heads"], -1, length).unbind(1)
    context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=-1), v)
    return torch.einsum("bhde,bhdn->bhen", context, q * op.attrs["q_scale"]).reshape(batch, -1, length)


def _act_vjp(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    x, dy = ins
    return dy * ACT_SLOPES[op.attrs["act"]](x)


def _mish_slope(x: Tensor) -> Tensor:
    """d/dx x tanh(softplus(x)) = t + x sigmoid(x) (1 - t^2), t = tanh(softplus(x))."""
    t = torch.tanh(F.softplus(x))
    return t + x * torch.sigmoid(x) * (1 - t * t)


def _silu_slope(x: Tensor) -> Tensor:
    """d/dx x s = s + x s (1 - s), s = sigmoid(x)."""
    s = torch.sigmoid(x)
    return s + x * s * (1 - s)


def _normal_distribution(x: Tensor) -> Tensor:
    """Phi(x). (Torch's own is (1 + erf) / 2, of which nothing is left where x is far below zero.)"""
    return 0.5 * torch.erfc(x * -(0.5**0.5))


def _gelu_slope(x: Tensor) -> Tensor:
    """d/dx x Phi(x) = Phi(x) + x phi(x)."""
    return _normal_distribution(x) + x * torch.exp(-0.5 * x * x) * (2 * math.pi) ** -0.5


ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "mish": F.mish,
    "silu": F.silu,
    "relu": F.relu,
    "gelu": lambda x: x * _normal_distribution(x),
    "square": lambda x: x * x,
}
ACT_SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "mish": _mish_slope,
    "silu": _silu_slope,
    "relu": lambda x: (x > 0).to(x.dtype),  # none at zero, as torch has it
    "gelu": _gelu_slope,
    "square": lambda x: 2 * x,
}


def _group_norm_vjp(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    """dx = r (d - mean(d) - n mean(d n)), d = dy gamma, n the normalised x, r = 1 / std; means over each group."""
    x, dy = ins
    grouped = x.reshape(len(x), op.attrs["groups"], -1)
    variance, mean = torch.var_mean(grouped, dim=-1, correction=0, keepdim=True)
    r = torch.rsqrt(variance + op.attrs["eps"])
    n = (grouped - mean) * r
    d = (dy * weights[0][:, None]).reshape(grouped.shape)
    return (r * (d - d.mean(-1, keepdim=True) - n * (d * n).mean(-1, keepdim=True))).reshape(x.shape)


def _conv_block(
    op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None
) -> tuple[Tensor, ...]:
    u = _conv(op, shape, ins[:1], weights[:2], table)
    y = _act(op, shape, [_group_norm(op, shape, [u], weights[2:], table)], [], table)
    if op.attrs["table"] >= 0:
        y = _step_bias(op, shape, [y], [], table)
    return (y + ins[1] if len(ins) > 1 else y), u


def _norm_act_vjp(op: Op, shape: Shape, ins: list[Tensor], weights: list[Tensor], table: Tensor | None) -> Tensor:
    u, dy = ins
    n = _group_norm(op, shape, [u], weights, table)
    return _group_norm_vjp(op, shape, [u, _act_vjp(op, shape, [n, dy], [], table)], weights[:1], table)


OPS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "conv": _conv,
    "group_norm": _group_norm,
    "channel_norm": _channel_norm,
    "act": _act,
    "add": lambda op, shape, ins, weights, table: ins[0] + ins[1],
    "concat": lambda op, shape, ins, weights, table: torch.cat(ins, dim=1),
    "slice": lambda op, shape, ins, weights, table: ins[0][:, op.attrs["lo"] : op.attrs["lo"] + shape[0]],
    "step_bias": _step_bias,
    "linear_attention": _linear_attention,
    "group_norm_vjp": _group_norm_vjp,
    "act_vjp": _act_vjp,
    "conv_block": _conv_block,
    "norm_act_vjp": _norm_act_vjp,
    "film": _film,
}


SUPPORT = Support(kinds=frozenset(OPS), acts=frozenset(ACTS) & frozenset(ACT_SLOPES))


def isas() -> list[str]:
    """None: torch chooses."""
    return []


def why_not(loop: SamplingLoop | None = None, device: str | None = None) -> str | None:
    """A sentence, or None: the reference runs everything that is written above and torch can put on the device."""
    try:
        torch.empty(1, device=device or "cpu")
    except (RuntimeError, AssertionError) as error:
        return f"torch cannot use device {device!r}: {str(error).splitlines()[0]}"
    return None if loop is None else loop.unsupported(SUPPORT)


def ready(
    loop: SamplingLoop,
    *,
    device: str | None = None,
    batch: int,
    precision: str = "float32",
    threads: int | None = None,
) -> ReferenceEngine:
    """An engine over plain torch ops. precision: "float32" or "float64". threads: torch's own setting is left alone."""
    if precision not in DTYPES:
        raise ValueError(f"precision: the reference backend has {', '.join(PRECISIONS)}, found {precision!r}")
    if (reason := why_not(loop, device)) is not None:
        raise RuntimeError(reason)
    return ReferenceEngine(loop, torch.device(device or "cpu"), batch, DTYPES[precision])


def evaluate(
    program: Program, weights: Mapping[str, NDArray], inputs: Mapping[str, NDArray], table: NDArray | None = None,
    *, device: str | None = None, precision: str = "float32", threads: int | None = None,
) -> dict[str, NDArray]:  # fmt: skip
    """Evaluate one Program by itself, fused or not; see backends/engine.py."""

    def tensor(array: NDArray) -> Tensor:
        return torch.from_numpy(np.asarray(array)).to(device or "cpu", DTYPES[precision])

    named = ({name: tensor(array) for name, array in arrays.items()} for arrays in (weights, inputs))
    with torch.no_grad():
        outputs = run(program, *named, None if table is None else tensor(table))
    return {name: y.cpu().numpy() for name, y in outputs.items()}


def scheduled(schedule: Schedule) -> list[int]:
    """The rows of a schedule of one group."""
    if schedule.deadline is not None or len(schedule.rows) != 1:
        raise ValueError("schedule: the reference backend runs one, without a deadline")
    return schedule.rows[0][schedule.rows[0] >= 0].tolist()


class ReferenceEngine:
    """The sampling loop as core/loop.py words it, one torch op at a time: read it to know the algorithm."""

    def __init__(self, loop: SamplingLoop, device: torch.device, batch: int, dtype: torch.dtype) -> None:
        self.loop, self.batch, self.device, self.dtype = loop, batch, device, dtype
        self.denoiser = self._weights(loop.denoiser)
        self.guide = self._weights(loop.guide) if loop.guide else {}
        self.dy = torch.ones(batch, 1, 1, dtype=dtype, device=device)

    def __call__(
        self, inpainting: Inpainting, noise: Noise, *, x: NDArray | None = None, start: int = 0,
        tables: PlanTables | None = None, candidates: int | None = None, chain: bool = False,
        schedule: Schedule | None = None,
    ) -> Result:  # fmt: skip
        """See backends/engine.py. A schedule is run as it is given: this engine looks at no clock and has one group."""
        loop, steps = self.loop, self.loop.steps
        rows = list(range(start, loop.rows)) if schedule is None else scheduled(schedule)
        skipped = 0 if schedule is None else schedule.skipped
        net_tables, guide_tables = loop.plan_tables(tables, self.batch)
        self._cancelled = False
        mask, given = torch.tensor(inpainting.mask, device=self.device), self._tensor(inpainting.values)

        def inpaint(x: Tensor) -> Tensor:
            return torch.where(mask, given, x)

        with torch.no_grad():
            state = inpaint(self._tensor(x) if x is not None else self._noise(noise, 0, candidates))
            values = torch.zeros(self.batch, dtype=self.dtype, device=self.device)
            states = [state]
            for i, k in enumerate(rows, start):
                table, last = loop.table_step(k), i == start + len(rows) - 1
                if self._cancelled:
                    raise CancelledError
                for _ in range(steps.guide_steps[k]):
                    values, gradient = self._gradient(state, guide_tables.step(table))
                    state = inpaint(state + steps.gx[k] * gradient)
                if last and loop.guide and not steps.guide_steps[k]:
                    values = self._value(state, guide_tables.step(table))
                x0 = steps.p[k] * state
                if steps.q[k]:
                    x0 = x0 + steps.q[k] * self._denoise(state, net_tables.step(table))
                if steps.g0[k]:
                    x0 = x0 + steps.g0[k] * self._gradient(state, guide_tables.step(table))[1]
                unclipped = x0
                if loop.clip:
                    x0 = torch.clamp(x0, *(self._tensor(bound) for bound in loop.clip))
                if i == start:
                    previous_x0 = x0
                update = steps.a[k] * x0 + steps.b[k] * state + steps.d[k] * previous_x0 + steps.u[k] * unclipped
                state = inpaint(update + steps.s[k] * self._noise(noise, skipped + i + 1, candidates))
                previous_x0 = x0
                if not torch.isfinite(state).all():
                    raise not_finite(steps, k)
                states.append(state)
        values = values.cpu().numpy()
        dtype = np.float64 if self.dtype == torch.float64 else np.float32
        return Result(
            x=state.cpu().numpy().astype(dtype),
            values=values.astype(dtype),
            order=ranking(values, candidates or self.batch),
            chain=torch.stack(states, dim=1).cpu().numpy().astype(dtype) if chain else None,
            rows=None if schedule is None else np.array([rows], np.int32),
        )

    def cancel(self) -> None:
        """See backends/engine.py."""
        self._cancelled = True

    def _denoise(self, x: Tensor, table: NDArray) -> Tensor:
        found = run(self.loop.denoiser.program, self.denoiser, {"x": x.transpose(1, 2)}, self._tensor(table))
        return found["y"].transpose(1, 2)

    def _value(self, x: Tensor, table: NDArray) -> Tensor:
        found = run(self.loop.guide.program, self.guide, {"x": x.transpose(1, 2)}, self._tensor(table))
        return found["y"].reshape(-1)

    def _gradient(self, x: Tensor, table: NDArray) -> tuple[Tensor, Tensor]:
        inputs = {"x": x.transpose(1, 2), "dy": self.dy}
        found = run(self.loop.guide.gradient, self.guide, inputs, self._tensor(table))
        return found["y"].reshape(-1), found["dx"].transpose(1, 2)

    def _noise(self, noise: Noise, entry: int, candidates: int | None) -> Tensor:
        if isinstance(noise, Seeded):
            shape = (self.batch, self.loop.horizon, self.loop.transition_dim)
            return self._tensor(draw(noise.seed, noise.plan, entry, *shape, candidates))
        return self._tensor(noise[entry])

    def _weights(self, network: Network) -> dict[str, Tensor]:
        return {name: self._tensor(array) for name, array in network.weights.items()}

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.tensor(np.asarray(array), dtype=self.dtype, device=self.device)
