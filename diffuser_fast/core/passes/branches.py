"""Several evaluations of one network as one Program: classifier-free guidance without an engine that knows of it.

The branches read the same x and weights, and tables that lie side by side. Their sum, weighted by ``gains``, is taken
in the last convolution, which is linear: it reads all branches at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..program import Op, Program


def branches(program: Program, gains: Sequence[float]) -> Program:
    """``x -> sum of gains[i] y_i``, y_i being the program's y with its tables' columns from ``i table_width`` on.

    ValueError unless y comes of a convolution, with a bias or without, that nothing else reads. The weights that it
    needs are ``branch_weights``'.
    """
    *body, last = program.ops
    if last.kind != "conv" or last.outs[0] != program.outputs["y"] or len(last.ins) != 1 or last.attrs["transposed"]:
        raise ValueError("branches: the last op must be the convolution that makes y")
    shapes, ops, x = list(program.shapes), [], program.inputs["x"]
    heads = []
    for branch in range(len(gains)):
        where = {x: x}

        def number(value: int, where: dict[int, int] = where) -> int:
            if value not in where:
                shapes.append(program.shapes[value])
                where[value] = len(shapes) - 1
            return where[value]

        for op in body:
            attrs = dict(op.attrs)
            if attrs.get("table", -1) >= 0:
                attrs["table"] += branch * program.table_width
            ins, outs = tuple(map(number, op.ins)), tuple(map(number, op.outs))
            ops.append(Op(op.kind, outs, ins, op.weights, attrs))
        heads.append(number(last.ins[0]))
    joined = heads[0]
    for head in heads[1:]:
        shapes.append((shapes[joined][0] + shapes[head][0], shapes[head][1]))
        ops.append(Op("concat", (len(shapes) - 1,), (joined, head)))
        joined = len(shapes) - 1
    names = tuple(_name(name, gains) for name in last.weights)
    ops.append(replace(last, ins=(joined,), weights=names))
    weights = {name: shape for name, shape in program.weights.items() if name not in last.weights}
    for old, new in zip(last.weights, names):
        shape = program.weights[old]
        weights[new] = shape if len(shape) == 1 else (shape[0], len(gains) * shape[1], shape[2])
    return Program(
        tuple(ops), tuple(shapes), program.inputs, program.outputs, weights, len(gains) * program.table_width
    )


def branch_weights(
    program: Program, arrays: Mapping[str, NDArray[np.float32]], gains: Sequence[float]
) -> dict[str, NDArray[np.float32]]:
    """The weights of ``branches(program, gains)`` out of those of ``program``."""
    last = program.ops[-1]
    made = {name: arrays[name] for name in program.weights if name not in last.weights}
    for name in last.weights:
        array = np.asarray(arrays[name], np.float64)
        parts = sum(gains) * array if array.ndim == 1 else np.concatenate([gain * array for gain in gains], axis=1)
        made[_name(name, gains)] = parts.astype(np.float32)
    return made


def _name(name: str, gains: Sequence[float]) -> str:
    return f"{name} of {len(gains)} branches"
