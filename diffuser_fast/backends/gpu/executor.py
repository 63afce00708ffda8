"""Stages run in numpy, in float64: what every kernel that runs them is compared with, and their definition.

It reads rows and buffers, as the kernels do, and knows no Program.
"""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ...core.ops import ACTS
from .stages import STAGE_FIELDS, VIEWS, Bias, Kind, Residual, StageList, Tail

Row = namedtuple("Row", STAGE_FIELDS)


class Executor:
    """Runs the stages of networks over the arenas of G groups of n trajectories.

    arena: float64 ``[G, n * size]``, NaN at first. Values are ``[G, n, H, C]``; those of trajectories beyond the batch
    are computed too, from whatever is there.
    """

    def __init__(self, stages: StageList, batch: int) -> None:
        self.stages, self.batch = stages, batch
        self.groups = -(-batch // stages.group)
        self.arena = np.full((self.groups, stages.group * max(1, stages.arena)), np.nan)
        # Rows have eps and scale as float32; here they are what the Program says.
        self.rows = [
            Row(*row)._replace(eps=stage.eps, scalar=stage.scalar)
            for row, stage in zip(stages.rows.tolist(), stages.stages)
        ]
        self.vectors = stages.vectors.astype(np.float64)
        self.matrices = [
            np.asarray(weight, np.float64).transpose((2, 0, 1) if transposed else (2, 1, 0))
            for weight, transposed in stages.convolutions
        ]  # [k, in, out]

    def view(self, at: int, ld: int, channels: int, length: int) -> NDArray[np.float64]:
        """A value within the arenas, sharing their memory."""
        size, n = self.arena.itemsize, self.stages.group
        assert at + (n * length - 1) * ld + channels <= self.arena.shape[1], "a view beyond the arena"
        strides = (self.arena.strides[0], length * ld * size, ld * size, size)
        return as_strided(self.arena[:, at:], (self.groups, n, length, channels), strides)

    def operand(self, row: Row, name: str) -> NDArray[np.float64] | None:
        """One of ``VIEWS``, or None where the row has none."""
        at, ld = getattr(row, name), getattr(row, f"{name}_ld")
        channels, length = {"x": (row.ci, row.h_in), "r": (row.cr, row.h)}.get(name, (row.co, row.h))
        return self.view(at, ld, channels, length) if ld else None

    def run(self, number: int, table: NDArray | None = None) -> None:
        """A stage of a network. table: what it sees of the denoising step, ``[G, n, S]``, or ``[1, 1, S]``."""
        row = self.rows[number]
        operands = {name: self.operand(row, name) for name in VIEWS}
        y = operands.pop("y")
        with np.errstate(all="ignore"):  # of trajectories beyond the batch; what is not finite is seen by its reader
            result = getattr(self, f"_{Kind(row.kind).name.lower()}")(row, table, **operands)
        assert result.shape == y.shape, f"stage {number}"
        y[...] = result

    def _conv(self, s: Row, table: NDArray, x: NDArray, r: NDArray, u: NDArray, p: NDArray) -> NDArray:
        acc = np.zeros((*x.shape[:2], s.h, s.co))
        for tap in range(s.k):
            to, source = _taps(s, tap)
            acc[:, :, to] += x[:, :, source] @ self.matrices[s.w][tap]
        acc += self._vector(s.bias, s.co)
        residual = r
        if s.residual in (Residual.EARLY_CONV, Residual.LATE_CONV):
            residual = r @ self.matrices[s.skip_w][0] + self._vector(s.skip_bias, s.co)
        if s.residual in (Residual.EARLY_SAME, Residual.EARLY_CONV):
            acc = acc + residual
        if s.bias_at == Bias.BEFORE:
            acc = acc + _columns(table, s.table, s.co)
        if p is not None:
            p[...] = acc
        acc = self._tail(s, acc if u is None else u, acc)
        if s.bias_at == Bias.AFTER:
            acc = acc + _columns(table, s.table, s.co)
        return acc + residual if s.residual in (Residual.LATE_SAME, Residual.LATE_CONV) else acc

    def _tail(self, s: Row, u: NDArray, dy: NDArray | None) -> NDArray:
        """A tail at u; dy: the gradient that comes in."""
        if s.tail == Tail.NONE:
            return u
        if s.tail == Tail.ACT:
            return _ACTS[ACTS[s.act]](u)
        if s.tail == Tail.ACT_VJP:
            return dy * _SLOPES[ACTS[s.act]](u)
        gamma, shape = self._vector(s.gamma, s.co), (*u.shape[:3], s.groups, -1)
        means = lambda v: v.mean(axis=(-3, -1), keepdims=True)
        centred = u.reshape(shape) - means(u.reshape(shape))
        r = 1 / np.sqrt(means(centred * centred) + s.eps)
        n = (centred * r).reshape(u.shape)
        if s.tail != Tail.NORM_VJP:
            z = n * gamma + self._vector(s.beta, s.co)
            if s.tail == Tail.NORM:
                return z
            if s.tail == Tail.NORM_ACT:
                return _ACTS[ACTS[s.act]](z)
            dy = dy * _SLOPES[ACTS[s.act]](z)
        d, n = (dy * gamma).reshape(shape), n.reshape(shape)
        return (r * (d - means(d) - n * means(d * n))).reshape(u.shape)

    def _norm(self, s: Row, table: NDArray, x: NDArray, r: NDArray, u: NDArray, p: NDArray) -> NDArray:
        return self._tail(s, x, r)

    def _channel_norm(self, s: Row, table: NDArray, x: NDArray, r: NDArray, u: NDArray, p: NDArray) -> NDArray:
        centred = x - x.mean(axis=-1, keepdims=True)
        n = centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + s.eps)
        return n * self._vector(s.gamma, s.co) + self._vector(s.beta, s.co)

    def _pointwise(self, s: Row, table: NDArray, x: NDArray, r: NDArray, u: NDArray, p: NDArray) -> NDArray:
        if s.tail == Tail.ADD:
            return x + r
        if s.tail == Tail.BIAS:
            return x + _columns(table, s.table, s.co)
        if s.tail == Tail.FILM:
            return x * _columns(table, s.table, s.co) + _columns(table, s.table + s.co, s.co)
        return x if s.tail == Tail.COPY else self._tail(s, x, r)

    def _attention(self, s: Row, table: NDArray, x: NDArray, r: NDArray, u: NDArray, p: NDArray) -> NDArray:
        q, k, v = np.moveaxis(x.reshape(*x.shape[:3], 3, s.heads, -1), 3, 0)
        weight = np.exp(k - k.max(axis=2, keepdims=True))
        context = np.einsum("gnhad,gnhae->gnade", weight / weight.sum(axis=2, keepdims=True), v)
        out = np.einsum("gnade,gnhad->gnhae", context, q * s.scalar)
        return out.reshape(*x.shape[:3], -1)

    def _vector(self, at: int, channels: int) -> NDArray[np.float64] | float:
        return self.vectors[at : at + channels] if at >= 0 else 0.0


def _taps(s: Row, tap: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where a tap meets something: output times, and the input times that it multiplies there."""
    t = np.arange(s.h)
    if s.transposed:
        top = t + s.pad - tap
        source, there = top // s.stride, top % s.stride == 0
    else:
        source, there = t * s.stride - s.pad + tap, np.ones(s.h, bool)
    there &= (source >= 0) & (source < s.h_in)
    return t[there], source[there]


def _columns(table: NDArray, first: int, channels: int) -> NDArray[np.float64]:
    return table[:, :, None, first : first + channels]


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _sigmoid(x: NDArray) -> NDArray:
    return np.exp(-np.logaddexp(0, -x))


def _normal(x: NDArray) -> NDArray:
    return 0.5 * _erfc(-x / math.sqrt(2))


def _mish_slope(x: NDArray) -> NDArray:
    t = np.tanh(np.logaddexp(0, x))
    return t + x * _sigmoid(x) * (1 - t * t)


_ACTS: dict[str, Callable[[NDArray], NDArray]] = {
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "silu": lambda x: x * _sigmoid(x),
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * _normal(x),
    "square": np.square,
}
_SLOPES: dict[str, Callable[[NDArray], NDArray]] = {
    "mish": _mish_slope,
    "silu": lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)),
    "relu": lambda x: (x > 0).astype(np.float64),
    "gelu": lambda x: _normal(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi),
    "square": lambda x: 2 * x,
}
