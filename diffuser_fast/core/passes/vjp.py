"""The gradient of a network with respect to its input, as a Program. Weights are never differentiated here."""

from __future__ import annotations

from ..program import Builder, Op, Program


def vjp(program: Program) -> Program:
    """``x -> y`` becomes ``(x, dy) -> (y, dx)`` with dx = dy . dy/dx. One input, one output, unfused ops.

    conv is closed under this: its adjoint is the same weights with ``transposed`` flipped.
    """
    if set(program.inputs) != {"x"} or set(program.outputs) != {"y"}:
        raise ValueError(f"vjp: expected x -> y, found {', '.join(program.inputs)} -> {', '.join(program.outputs)}")
    x, y = program.inputs["x"], program.outputs["y"]
    b = Builder.extending(program)
    dy = b.input("dy", program.shapes[y])
    grad = {y: dy}

    def accumulate(value: int, g: int) -> None:
        grad[value] = b.add(grad[value], g) if value in grad else g

    for op in reversed(program.ops):
        g = grad.get(op.outs[0])
        if g is None:  # nothing of the output depends on it
            continue
        a, into = op.attrs, op.ins[0]
        shape = program.shapes[into]
        match op.kind:
            case "conv" if len(op.ins) == 1:
                flipped = {**a, "transposed": not a["transposed"]}
                accumulate(into, b.emit("conv", (g,), shape, op.weights[:1], **flipped))
            case "group_norm" | "act":
                accumulate(into, b.emit(f"{op.kind}_vjp", (into, g), shape, op.weights[:1], **a))
            case "step_bias":
                accumulate(into, g)
            case "add":
                accumulate(into, g)
                accumulate(op.ins[1], g)
            case "concat":
                channels = shape[0]
                accumulate(into, b.slice(g, 0, channels))
                accumulate(op.ins[1], b.slice(g, channels, program.shapes[op.ins[1]][0]))
            case _:
                raise ValueError(f"vjp: no gradient rule for {op.kind}; the guide of this family does not use it")
    if x not in grad:
        raise ValueError("vjp: y does not depend on x")
    return _without_dead_ops(b.done(y=y, dx=grad[x]))


def _without_dead_ops(program: Program) -> Program:
    live, ops = set(program.outputs.values()), []
    for op in reversed(program.ops):
        if live & set(op.outs):
            ops.append(op)
            live |= set(op.ins)
    return _replace_ops(program, tuple(reversed(ops)))


def _replace_ops(program: Program, ops: tuple[Op, ...]) -> Program:
    used = {name for op in ops for name in op.weights}
    weights = {name: shape for name, shape in program.weights.items() if name in used}
    return Program(ops, program.shapes, program.inputs, program.outputs, weights, program.table_width)
