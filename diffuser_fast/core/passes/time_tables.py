"""Time-embedding tables: what depends on the denoising step alone is computed once, at load."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..program import Program


def embedding(t: NDArray, dim: int) -> NDArray[np.float64]:
    """Sinusoidal embedding of the training steps ``t [R]``: ``[R, dim]``, sines then cosines.

    Vaswani et al. 2017, section 3.5. Frequencies are 10000^(-i / (dim/2 - 1)), i = 0 .. dim/2 - 1, as in the original
    (the last is 1/10000).
    """
    half = dim // 2
    angle = np.asarray(t, np.float64)[:, None] * 10000.0 ** (-np.arange(half) / (half - 1))
    return np.concatenate((np.sin(angle), np.cos(angle)), axis=1)


def time_tables(time: Program, weights: Mapping[str, NDArray], t: NDArray, dim: int) -> NDArray[np.float64]:
    """Float64 ``[R, S]``: the time program evaluated at every step of ``t [R]``, a row for each of the StepTable.

    It is a small MLP: dense layers (conv with k = 1), activations and concatenation.
    """
    values = {time.inputs[0]: embedding(t, dim)}
    for op in time.ops:
        ins = [values[i] for i in op.ins]
        if op.kind == "conv":
            weight, bias = (np.asarray(weights[name], np.float64) for name in op.weights)
            values[op.outs[0]] = ins[0] @ weight[:, :, 0].T + bias
        elif op.kind == "act":
            values[op.outs[0]] = ins[0] * np.tanh(np.logaddexp(0, ins[0]))
        else:
            assert op.kind == "concat", op.kind
            values[op.outs[0]] = np.concatenate(ins, axis=1)
    return values[time.outputs[0]]
