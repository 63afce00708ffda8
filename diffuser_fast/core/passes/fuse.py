"""Chains of ops that engines run as one: conv + group_norm + act (+ step_bias) (+ add), and its gradient."""

from __future__ import annotations

from dataclasses import replace

from ..program import Op, Program


def fuse(program: Program) -> Program:
    """The same function in fewer ops. Outputs of the program are never swallowed."""
    return _fuse_conv_add(_fuse_blocks(_fuse_gradients(program)))


def _fuse_gradients(program: Program) -> Program:
    """act_vjp(group_norm(u), dy) then group_norm_vjp(u, .) becomes norm_act_vjp(u, dy): the norm is computed anew."""
    made = {out: op for op in program.ops for out in op.outs}
    readers, gone, new = program.consumers(), set(), {}
    for op in program.ops:
        if op.kind != "group_norm_vjp":
            continue
        act = made.get(op.ins[1])
        if act is None or act.kind != "act_vjp" or not _only_read_by(program, readers, act.outs[0], op):
            continue
        norm = made.get(act.ins[0])
        if norm is None or norm.kind != "group_norm" or norm.ins[0] != op.ins[0] or norm.weights[0] != op.weights[0]:
            continue
        gone.add(id(act))
        attrs = {**op.attrs, "act": act.attrs["act"]}
        new[id(op)] = Op("norm_act_vjp", op.outs, (op.ins[0], act.ins[1]), norm.weights, attrs)
    return _rebuild(program, gone, new)


def _fuse_blocks(program: Program) -> Program:
    """conv with a bias -> group_norm -> act [-> step_bias] [-> add]; u is kept if anything else reads it."""
    readers, gone, new = program.consumers(), set(), {}
    order = {id(op): n for n, op in enumerate(program.ops)}
    for conv in program.ops:
        if conv.kind != "conv" or len(conv.weights) != 2 or len(conv.ins) != 1:
            continue
        norms = [op for op in readers.get(conv.outs[0], []) if op.kind == "group_norm"]
        if len(norms) != 1:
            continue
        norm = norms[0]
        act = _sole_reader(program, readers, norm.outs[0], "act")
        if act is None:
            continue
        chain, table, residual = [conv, norm, act], -1, ()
        bias = _sole_reader(program, readers, act.outs[0], "step_bias")
        if bias is not None:
            chain.append(bias)
            table = bias.attrs["table"]
        add = _sole_reader(program, readers, chain[-1].outs[0], "add")
        if add is not None and id(add) not in new:  # an add of two chains belongs to the first
            residual = tuple(i for i in add.ins if i != chain[-1].outs[0])
            if len(residual) == 1 and residual != conv.outs:  # neither x + x nor the block's own u
                chain.append(add)
            else:
                residual = ()
        kept = _is_read_beside(program, readers, conv.outs[0], norm)
        outs = (chain[-1].outs[0], *(conv.outs if kept else ()))
        attrs = {**conv.attrs, **norm.attrs, **act.attrs, "table": table}
        # It runs where the chain ended, so that the residual exists; u moves there too, so nobody may read it before.
        last = order[id(chain[-1])]
        if any(order[id(op)] < last for op in readers[conv.outs[0]] if op is not norm):
            continue
        gone |= {id(op) for op in chain[:-1]}
        new[id(chain[-1])] = Op("conv_block", outs, conv.ins + residual, conv.weights + norm.weights, attrs)
    return _rebuild(program, gone, new)


def _fuse_conv_add(program: Program) -> Program:
    """conv -> add becomes conv with a residual."""
    readers, gone, new = program.consumers(), set(), {}
    made = {out: n for n, op in enumerate(program.ops) for out in op.outs}
    for op in program.ops:
        if op.kind != "add" or op.ins[0] == op.ins[1]:
            continue
        # Either side may be the conv; prefer the later one, whose other side is certainly there.
        for side in sorted(op.ins, key=lambda i: made.get(i, -1), reverse=True):
            conv = program.ops[made[side]] if side in made else None
            if conv is None or conv.kind != "conv" or len(conv.ins) == 2 or id(conv) in gone or id(conv) in new:
                continue
            if not _only_read_by(program, readers, side, op):
                continue
            other = op.ins[1] if side == op.ins[0] else op.ins[0]
            gone.add(id(conv))
            new[id(op)] = Op("conv", op.outs, (*conv.ins, other), conv.weights, conv.attrs)
            break
    return _rebuild(program, gone, new)


def _sole_reader(program: Program, readers: dict[int, list[Op]], value: int, kind: str) -> Op | None:
    found = readers.get(value, [])
    alone = len(found) == 1 and found[0].kind == kind and value not in program.outputs.values()
    return found[0] if alone else None


def _only_read_by(program: Program, readers: dict[int, list[Op]], value: int, op: Op) -> bool:
    return readers.get(value, []) == [op] and value not in program.outputs.values()


def _is_read_beside(program: Program, readers: dict[int, list[Op]], value: int, op: Op) -> bool:
    return value in program.outputs.values() or any(reader is not op for reader in readers.get(value, []))


def _rebuild(program: Program, gone: set[int], new: dict[int, Op]) -> Program:
    return replace(program, ops=tuple(new.get(id(op), op) for op in program.ops if id(op) not in gone))
