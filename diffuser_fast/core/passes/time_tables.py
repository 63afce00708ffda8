"""Time-embedding tables: what depends on the denoising step alone is computed once, at load."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..program import Program


def embedding(t: NDArray, dim: int) -> NDArray[np.float64]:
    """Sinusoidal embedding of steps ``t [R]``: ``[R, dim]``, sines then cosines (Vaswani et al. 2017, section 3.5).

    Frequencies are 10000^(-i / (dim/2 - 1)), i = 0 .. dim/2 - 1, as in the original (its last is 1/10000).
    """
    half = dim // 2
    angle = np.asarray(t, np.float64)[:, None] * 10000.0 ** (-np.arange(half) / (half - 1))
    return np.concatenate((np.sin(angle), np.cos(angle)), axis=1)


def time_tables(time: Program, weights: Mapping[str, NDArray], t: NDArray, dim: int) -> NDArray[np.float64]:
    """Step tables ``[R, S]`` in float64: the time program evaluated at every step of ``t [R]``.

    It is a small MLP: dense layers (conv with k = 1), activations and concatenation. ValueError on any other op.
    """
    values = {time.inputs["x"]: embedding(t, dim)}
    for op in time.ops:
        ins = [values[i] for i in op.ins]
        match op.kind:
            case "conv" if op.attrs["k"] == 1 and len(ins) == 1:
                w, *bias = (np.asarray(weights[name], np.float64) for name in op.weights)
                result = ins[0] @ w[:, :, 0].T + (bias[0] if bias else 0)
            case "act":
                result = _ACTS[op.attrs["act"]](ins[0])
            case "concat":
                result = np.concatenate(ins, axis=1)
            case _:
                raise ValueError(f"time_tables: a time program has no {op.kind}")
        values[op.outs[0]] = result
    return values[time.outputs["y"]]


_erf = np.vectorize(math.erf, otypes=[np.float64])
_ACTS: dict[str, Callable[[NDArray], NDArray]] = {
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "silu": lambda x: x * np.exp(-np.logaddexp(0, -x)),
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
}
