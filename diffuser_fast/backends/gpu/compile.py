"""A Program -> the stages that run it once over an arena, where its inputs and outputs lie, and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...core.ops import ACTS, CONVS
from ...core.passes import View, plan_memory
from ...core.program import Op, Program
from .fusion_groups import FusionGroup, GroupedProgram, fusion_groups
from .stages import SCRIPT_FIELDS, Bias, Flag, Kind, Residual, Stage, StageList, Tail


class Weights:
    """Collects what stages name: each convolution once, numbered, and vectors one after another."""

    def __init__(self) -> None:
        self.convolutions: list[tuple[NDArray, bool]] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._size = 0
        self._known: dict[tuple, int] = {}

    def convolution(self, weight: NDArray, transposed: bool) -> int:
        """The number of ``[out, in, k]``, or ``[in, out, k]`` if transposed."""
        key = (id(weight), bool(transposed))
        if key not in self._known:
            self._known[key] = len(self.convolutions)
            self.convolutions.append((weight, bool(transposed)))
        return self._known[key]

    def vector(self, numbers: NDArray) -> int:
        """The place of one number per channel; vectors begin at multiples of 16 bytes."""
        if (key := (id(numbers),)) not in self._known:
            self._known[key] = self._size
            padded = np.pad(np.asarray(numbers, np.float32).ravel(), (0, -np.size(numbers) % 4))
            self._vectors.append(padded)
            self._size += len(padded)
        return self._known[key]

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All of them."""
        return np.concatenate([*self._vectors, np.zeros(4, np.float32)])


@dataclass(frozen=True)
class CompiledProgram:
    """stages: in order. inputs, outputs: where they lie, by name. size: floats of arena for one trajectory, all in all:
    the first of them belong to whoever placed the inputs there."""

    stages: tuple[Stage, ...]
    inputs: Mapping[str, View]
    outputs: Mapping[str, View]
    size: int


def row_floats(channels: int) -> int:
    """Floats from one row to the next: 8 more than a multiple of 16, so that neighbouring rows of a matrix product's
    operand lie in different banks of shared memory."""
    return -(-channels // 16) * 16 + 8


def compiled(
    program: Program, arrays: Mapping[str, NDArray], weights: Weights, *, placed: Mapping[str, View] | None = None,
    base: int = 0, network: int = 0,
) -> CompiledProgram:  # fmt: skip
    """The stages of a Program, fused or not. arrays: its weights by name; weights: where they are collected.

    placed: where inputs lie that are others' as well, by name. base: the first float of the arena that is free.
    """
    return _Compiler(program, arrays, weights, placed or {}, base, network).done()


def program_stages(program: Program, arrays: Mapping[str, NDArray], *, group: int = 1) -> StageList:
    """One Program by itself: its inputs loaded in their order, its stages, its outputs stored in theirs."""
    weights = Weights()
    made = compiled(program, arrays, weights)
    stages = list(made.stages)
    for io, (name, at) in enumerate(made.inputs.items()):
        channels, length = program.shapes[program.inputs[name]]
        stages.insert(io, Stage(Kind.LOAD, y=at, co=channels, h=length, io=io, name=name))
    for io, (name, at) in enumerate(made.outputs.items(), len(made.inputs)):
        channels, length = program.shapes[program.outputs[name]]
        stages.append(Stage(Kind.STORE, x=at, ci=channels, h_in=length, io=io, name=name))
    return finished(stages, [[0, len(stages), 0, Flag.FIRST | Flag.LAST]], weights, made.size, group)


def finished(
    stages: Sequence[Stage], script: Sequence[Sequence[int]], weights: Weights, arena: int, group: int
) -> StageList:
    """The record."""
    numbers = np.array(script, np.int32).reshape(len(script), len(SCRIPT_FIELDS))
    return StageList(tuple(stages), numbers, tuple(weights.convolutions), weights.vectors, arena, group)


class _Compiler:
    def __init__(
        self, program: Program, arrays: Mapping[str, NDArray], weights: Weights, placed: Mapping[str, View], base: int,
        network: int,
    ) -> None:  # fmt: skip
        self.program, self.arrays, self.weights, self.base, self.network = program, arrays, weights, base, network
        self.groups = fusion_groups(program)
        grouped = GroupedProgram(tuple(self.groups), program.shapes, program.inputs, program.outputs)
        own = {program.inputs[name]: replace(at, offset=at.offset - base) for name, at in placed.items()}
        self.arena = plan_memory(grouped, row=row_floats, placed=own)
        self.stages: list[Stage] = []

    def done(self) -> CompiledProgram:
        for group in self.groups:
            if isinstance(group, Op):
                self._join(group)
            elif group.op.kind in CONVS:
                self._conv(group)
            else:
                getattr(self, f"_{group.op.kind}")(group.op)
        named = ({name: self.view(v) for name, v in values.items()} for values in _named(self.program))
        return CompiledProgram(tuple(self.stages), *named, self.base + self.arena.size)

    def view(self, value: int) -> View:
        """Where a value lies."""
        at = self.arena.views[value]
        return replace(at, offset=self.base + at.offset)

    def _vector(self, name: str) -> int:
        return self.weights.vector(self.arrays[name])

    def _matrix(self, name: str, transposed: bool) -> int:
        return self.weights.convolution(self.arrays[name], transposed)

    def _emit(self, kind: Kind, name: str, x: int, y: int, /, **fields) -> None:
        (ci, h_in), (co, h) = self.program.shapes[x], self.program.shapes[y]
        known = {"x": self.view(x), "y": self.view(y), "ci": ci, "h_in": h_in, "co": co, "h": h}
        known["network"] = self.network
        self.stages.append(Stage(kind=kind, name=name, **(known | fields)))

    def _join(self, op: Op) -> None:
        """Slices and concatenations are views; where a value cannot be written in place it is copied."""
        if op.kind == "slice" or op.outs[0] in self.arena.aliases:
            return
        into = self.view(op.outs[0])
        for value in op.ins:
            channels = self.program.shapes[value][0]
            self._emit(Kind.POINTWISE, "concat", value, op.outs[0], y=into, co=channels, tail=Tail.COPY)
            into = replace(into, channel=into.channel + channels)

    def _conv(self, group: FusionGroup) -> None:
        op, tail, a, late = group.op, group.tail, group.op.attrs, group.op.kind == "conv_block"
        how = Tail[tail.kind.upper()] if tail else Tail.NORM_ACT if late else Tail.NONE
        norm = how in (Tail.NORM_ACT, Tail.NORM_ACT_VJP)
        fields = {"k": a["k"], "stride": a["stride"], "pad": a["pad"], "transposed": a["transposed"], "tail": how}
        fields["w"] = self._matrix(op.weights[0], a["transposed"])
        if len(op.weights) > 1:
            fields["bias"] = self._vector(op.weights[1])
        residual = group.skip.ins[0] if group.skip else op.ins[1] if len(op.ins) == 2 else None
        if residual is not None:
            when = ("LATE" if late else "EARLY") + ("_CONV" if group.skip else "_SAME")
            fields |= {"r": self.view(residual), "cr": self.program.shapes[residual][0], "residual": Residual[when]}
        if group.skip:
            fields["skip_w"] = self._matrix(group.skip.weights[0], group.skip.attrs["transposed"])
            if len(group.skip.weights) > 1:
                fields["skip_bias"] = self._vector(group.skip.weights[1])
        affine = op.weights[2:] if late else tail.weights if norm else ()
        fields |= dict(zip(("gamma", "beta"), map(self._vector, affine)))
        if how is not Tail.NONE:
            fields["act"] = ACTS.index((tail or op).attrs["act"])
        if norm:
            fields |= {"groups": (tail or op).attrs["groups"], "eps": (tail or op).attrs["eps"]}
        if how in (Tail.ACT_VJP, Tail.NORM_ACT_VJP):
            fields["u"] = self.view(tail.ins[0])
        if group.pre is not None:
            fields["p"] = self.view(group.pre)
        table = group.bias.attrs["table"] if group.bias else a["table"] if late else -1
        if table >= 0:
            fields |= {"table": table, "bias_at": Bias.AFTER if late else Bias.BEFORE}
        self._emit(Kind.CONV, _short(op.weights[0]), op.ins[0], group.outs[0], **fields)

    def _norm(self, op: Op, tail: Tail) -> None:
        a, fields = op.attrs, dict(zip(("gamma", "beta"), map(self._vector, op.weights)))
        fields |= {"tail": tail, "groups": a["groups"], "eps": a["eps"]}
        if len(op.ins) == 2:
            fields |= {"r": self.view(op.ins[1]), "cr": self.program.shapes[op.ins[1]][0]}
        if "act" in a:
            fields["act"] = ACTS.index(a["act"])
        self._emit(Kind.NORM, _short(op.weights[0]), op.ins[0], op.outs[0], **fields)

    def _group_norm(self, op: Op) -> None:
        self._norm(op, Tail.NORM)

    def _group_norm_vjp(self, op: Op) -> None:
        self._norm(op, Tail.NORM_VJP)

    def _norm_act_vjp(self, op: Op) -> None:
        self._norm(op, Tail.NORM_ACT_VJP)

    def _channel_norm(self, op: Op) -> None:
        gamma, beta = map(self._vector, op.weights)
        self._emit(
            Kind.CHANNEL_NORM, _short(op.weights[0]), op.ins[0], op.outs[0], gamma=gamma, beta=beta, eps=op.attrs["eps"]
        )

    def _linear_attention(self, op: Op) -> None:
        heads, scale = op.attrs["heads"], op.attrs["q_scale"]
        self._emit(Kind.ATTENTION, "attention", op.ins[0], op.outs[0], heads=heads, scalar=scale)

    def _pointwise(self, op: Op, tail: Tail, **fields) -> None:
        if len(op.ins) == 2:
            fields |= {"r": self.view(op.ins[1]), "cr": self.program.shapes[op.ins[1]][0]}
        self._emit(Kind.POINTWISE, op.kind, op.ins[0], op.outs[0], tail=tail, **fields)

    def _act(self, op: Op) -> None:
        self._pointwise(op, Tail.ACT, act=ACTS.index(op.attrs["act"]))

    def _act_vjp(self, op: Op) -> None:
        self._pointwise(op, Tail.ACT_VJP, act=ACTS.index(op.attrs["act"]))

    def _add(self, op: Op) -> None:
        self._pointwise(op, Tail.ADD)

    def _step_bias(self, op: Op) -> None:
        self._pointwise(op, Tail.BIAS, table=op.attrs["table"])

    def _film(self, op: Op) -> None:
        self._pointwise(op, Tail.FILM, table=op.attrs["table"])


def _named(program: Program) -> tuple[Mapping[str, int], Mapping[str, int]]:
    return program.inputs, program.outputs


def _short(weight: str) -> str:
    return weight.removesuffix(".weight").removesuffix(".conv")
