"""Time-embedding tables: what depends on the denoising step alone is computed once, at load."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..embedding import Embedding
from ..program import Op, Program


class Dense:
    """A small MLP evaluated in float64: dense layers (conv with k = 1), activations and concatenation.

    Its weights are taken over once, so that it may be evaluated at every plan. ValueError on any other op.
    """

    def __init__(self, program: Program, weights: Mapping[str, NDArray]) -> None:
        self.program = program
        self._steps = [self._step(op, weights) for op in program.ops]

    @property
    def inputs(self) -> int:
        """C, how many numbers it takes."""
        return self.program.shapes[self.program.inputs["x"]][0]

    def __call__(self, x: NDArray) -> NDArray[np.float64]:
        """``x [N, C]`` -> ``[N, S]``."""
        values = {self.program.inputs["x"]: np.asarray(x, np.float64)}
        for op, step in zip(self.program.ops, self._steps):
            values[op.outs[0]] = step(*(values[i] for i in op.ins))
        return values[self.program.outputs["y"]]

    @staticmethod
    def _step(op: Op, weights: Mapping[str, NDArray]) -> Callable[..., NDArray]:
        match op.kind:
            case "conv" if op.attrs["k"] == 1 and len(op.ins) == 1:
                w, *bias = (np.asarray(weights[name], np.float64) for name in op.weights)
                return lambda x: x @ w[:, :, 0].T + (bias[0] if bias else 0)
            case "act":
                return _ACTS[op.attrs["act"]]
            case "concat":
                return lambda x, y: np.concatenate((x, y), axis=1)
        raise ValueError(f"time_tables: a time program has no {op.kind}")


def time_tables(time: Program, weights: Mapping[str, NDArray], t: NDArray, embedding: Embedding) -> NDArray[np.float64]:
    """Step tables ``[R, S]`` in float64: the time program evaluated at every step of ``t [R]``."""
    return Dense(time, weights)(embedding(t))


_erf = np.vectorize(math.erf, otypes=[np.float64])
_ACTS: dict[str, Callable[[NDArray], NDArray]] = {
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "silu": lambda x: x * np.exp(-np.logaddexp(0, -x)),
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "square": np.square,
}
