"""A network as a list of ops: data only. Passes take a whole Program and return a whole Program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .ops import EPS, Shape, conv_length, op_flops
from .verify import ProgramError, verify, verify_op

__all__ = ["Builder", "Op", "Program", "ProgramError", "Shape"]


@contextmanager
def _records_only(what: str) -> Iterator[None]:
    """What is not even of the right types is a ProgramError, too."""
    try:
        yield
    except ProgramError:
        raise
    except (TypeError, AttributeError, ValueError, KeyError, IndexError) as error:
        raise ProgramError(f"{what}: not a record of one: {error}") from None


@dataclass(frozen=True)
class Op:
    """One op: its kind (see ops.py), the values it writes and reads, its weights by name, its attributes."""

    kind: str
    outs: tuple[int, ...]
    ins: tuple[int, ...]
    weights: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with _records_only(f"op {self.kind!r}"):
            object.__setattr__(self, "attrs", MappingProxyType(dict(self.attrs)))
            verify_op(self)

    def __reduce__(self):
        return Op, (self.kind, self.outs, self.ins, self.weights, dict(self.attrs))


@dataclass(frozen=True)
class Program:
    """Ops in order over numbered values; every value is written once. ProgramError (verify.py) if it means nothing.

    shapes: (C, H) of each value. inputs, outputs: name -> number of a value; a network is ``x -> y``, its gradient
    ``(x, dy) -> (y, dx)``. weights: name -> shape of each weight. table_width: S, the length of one row of step tables
    (0: the program does not depend on the step).
    """

    ops: tuple[Op, ...]
    shapes: tuple[Shape, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    weights: Mapping[str, tuple[int, ...]]
    table_width: int = 0

    def __post_init__(self) -> None:
        with _records_only("program"):
            for name in ("inputs", "outputs", "weights"):
                object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
            verify(self)

    def __reduce__(self):
        named = (dict(named) for named in (self.inputs, self.outputs, self.weights))
        return Program, (self.ops, self.shapes, *named, self.table_width)

    @property
    def flops(self) -> int:
        """Dense floating-point operations for one trajectory (see ``op_flops``)."""
        return sum(op_flops(op, self.shapes) for op in self.ops)

    def consumers(self) -> dict[int, list[Op]]:
        """Value number -> the ops that read it, in order."""
        found: dict[int, list[Op]] = {}
        for op in self.ops:
            for value in dict.fromkeys(op.ins):
                found.setdefault(value, []).append(op)
        return found

    def digest(self) -> str:
        """A name for this exact program: hexadecimal SHA-256 of its ops, shapes and weights' shapes."""
        record = [
            [(op.kind, op.outs, op.ins, op.weights, sorted(op.attrs.items())) for op in self.ops],
            self.shapes, list(self.inputs.items()), list(self.outputs.items()), sorted(self.weights.items()),
            self.table_width,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(record).encode()).hexdigest()

    def __str__(self) -> str:
        def value(i: int) -> str:
            return f"%{i}[{self.shapes[i][0]}x{self.shapes[i][1]}]"

        def named(values: Mapping[str, int]) -> str:
            return " ".join(f"{name}={value(i)}" for name, i in values.items())

        lines = [f"inputs {named(self.inputs)}"]
        for op in self.ops:
            attrs = " ".join(f"{name}={v}" for name, v in op.attrs.items())
            left = ", ".join(map(value, op.outs))
            lines.append(f"{left} = {op.kind} {' '.join(map(value, op.ins))} {' '.join(op.weights)} {attrs}".rstrip())
        return "\n".join([*lines, f"outputs {named(self.outputs)}"])


class Builder:
    """Writes a Program op by op; each method returns the number of the value it made.

    ``Builder((C, H))`` has one input, "x", which is value 0; more are named: ``Builder((C, H), dy=(1, 1))``.
    """

    def __init__(self, x: Shape | None = None, /, **inputs: Shape) -> None:
        named = ({} if x is None else {"x": x}) | inputs
        self.ops: list[Op] = []
        self.shapes: list[Shape] = list(named.values())
        self.inputs: dict[str, int] = {name: i for i, name in enumerate(named)}
        self.weights: dict[str, tuple[int, ...]] = {}
        self.table_width = 0

    @classmethod
    def extending(cls, program: Program) -> Builder:
        """A builder that starts with all of ``program``."""
        builder = cls()
        builder.ops, builder.shapes, builder.inputs = list(program.ops), list(program.shapes), dict(program.inputs)
        builder.weights, builder.table_width = dict(program.weights), program.table_width
        return builder

    def input(self, name: str, shape: Shape) -> int:
        """One more input."""
        self.shapes.append(shape)
        self.inputs[name] = len(self.shapes) - 1
        return self.inputs[name]

    def emit(self, kind: str, ins: tuple[int, ...], shape: Shape, weights: tuple[str, ...] = (), **attrs: Any) -> int:
        """Any op with one output of this shape."""
        self.shapes.append(shape)
        self.ops.append(Op(kind, (len(self.shapes) - 1,), ins, weights, attrs))
        return len(self.shapes) - 1

    def conv(
        self, x: int, name: str, channels: int, *, k: int, stride: int = 1, pad: int | None = None,
        transposed: bool = False, bias: bool = True,
    ) -> int:  # fmt: skip
        """A convolution whose weights are ``{name}.weight`` and ``{name}.bias``; ``pad`` defaults to k // 2."""
        in_channels, length = self.shapes[x]
        pad = k // 2 if pad is None else pad
        weights = [
            self._weight(f"{name}.weight", *((in_channels, channels) if transposed else (channels, in_channels)), k)
        ]
        if bias:
            weights.append(self._weight(f"{name}.bias", channels))
        shape = (channels, conv_length(length, k, stride, pad, transposed))
        return self.emit("conv", (x,), shape, tuple(weights), k=k, stride=stride, pad=pad, transposed=transposed)

    def group_norm(self, x: int, name: str, groups: int) -> int:
        """GroupNorm with affine ``{name}.weight``, ``{name}.bias``."""
        return self.emit("group_norm", (x,), self.shapes[x], self._affine(name, x), groups=groups, eps=EPS)

    def channel_norm(self, x: int, name: str) -> int:
        """LayerNorm over channels at each time, affine."""
        return self.emit("channel_norm", (x,), self.shapes[x], self._affine(name, x), eps=EPS)

    def act(self, x: int, act: str = "mish") -> int:
        """An activation (``ops.ACTS``); Mish is x tanh(softplus(x))."""
        return self.emit("act", (x,), self.shapes[x], act=act)

    def add(self, x: int, y: int) -> int:
        """Elementwise sum of two values of one shape."""
        return self.emit("add", (x, y), self.shapes[x])

    def concat(self, x: int, y: int) -> int:
        """Channels of x, then channels of y."""
        return self.emit("concat", (x, y), (self.shapes[x][0] + self.shapes[y][0], self.shapes[x][1]))

    def slice(self, x: int, lo: int, channels: int) -> int:
        """Channels ``lo : lo + channels`` of x."""
        return self.emit("slice", (x,), (channels, self.shapes[x][1]), lo=lo)

    def step_bias(self, x: int) -> int:
        """Adds the next C columns of the step table to x."""
        table = self.table_width
        self.table_width += self.shapes[x][0]
        return self.emit("step_bias", (x,), self.shapes[x], table=table)

    def film(self, x: int) -> int:
        """Scales x by the next C columns of the step table and adds the C after them."""
        table = self.table_width
        self.table_width += 2 * self.shapes[x][0]
        return self.emit("film", (x,), self.shapes[x], table=table)

    def done(self, *outputs: int, **named: int) -> Program:
        """The finished program. Outputs that are not named are "y", "y1", "y2" ..."""
        unnamed = {f"y{n or ''}": value for n, value in enumerate(outputs)}
        return Program(
            tuple(self.ops), tuple(self.shapes), self.inputs, unnamed | named, self.weights, self.table_width
        )

    def _weight(self, name: str, *shape: int) -> str:
        if name in self.weights:
            raise ProgramError(f"weight {name!r} has an owner already")
        self.weights[name] = shape
        return name

    def _affine(self, name: str, x: int) -> tuple[str, str]:
        channels = self.shapes[x][0]
        return self._weight(f"{name}.weight", channels), self._weight(f"{name}.bias", channels)
