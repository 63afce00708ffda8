"""Programs of random ops, for properties that must hold of all of them."""

from dataclasses import replace

import numpy as np

from diffuser_fast.core.ops import ACTS
from diffuser_fast.core.program import Builder


def block(b, x, name="c", channels=8, groups=4):
    """conv, group_norm, act: what fuse makes one op of."""
    return b.act(b.group_norm(b.conv(x, f"{name}.conv", channels, k=3), f"{name}.norm", groups))


def elementwise(seed, ops=14):
    """Over values of one shape, each op reading recent ones; one to three outputs, so that ops may be dead."""
    rng = np.random.default_rng(seed)
    b = Builder((8, 5))
    for n in range(ops):
        x, y = (int(rng.integers(max(0, len(b.shapes) - 4), len(b.shapes))) for _ in range(2))
        match rng.integers(6):
            case 0:
                b.conv(x, f"c{n}", 8, k=3)
            case 1:
                b.group_norm(x, f"n{n}", int(rng.choice([1, 2, 8])))
            case 2:
                b.act(x, ACTS[rng.integers(len(ACTS))])
            case 3:
                b.add(x, y)
            case 4:
                b.step_bias(x)
            case 5:
                block(b, x, f"b{n}")
    last = len(b.shapes) - 1
    return b.done(*{last, *(int(i) for i in rng.integers(1, last + 1, 2))})


def shaped(seed, ops=20, outputs=2):
    """Over values of any width and of lengths 3, 6 and 12, with concats and slices of everything, inputs too."""
    rng = np.random.default_rng(seed)
    b = Builder((int(rng.integers(1, 20)), 6), r=(int(rng.integers(1, 40)), 6))
    for n in range(ops):
        x = int(rng.integers(max(0, len(b.shapes) - 6), len(b.shapes)))
        channels, length = b.shapes[x]
        match rng.integers(6):
            case 0:
                b.conv(x, f"c{n}", int(rng.integers(1, 40)), k=int(rng.choice([1, 3, 5])))
            case 1 if length > 3:
                b.conv(x, f"d{n}", int(rng.integers(1, 20)), k=3, stride=2)
            case 2 if length < 12:
                b.conv(x, f"u{n}", int(rng.integers(1, 20)), k=4, stride=2, pad=1, transposed=True)
            case 3:
                b.act(x, ACTS[rng.integers(len(ACTS))])
            case 4:
                like = [v for v, (_, h) in enumerate(b.shapes) if h == length]
                y = int(rng.choice(like[-4:]))
                if channels + b.shapes[y][0] < 100:
                    b.concat(*((x, y) if rng.integers(2) else (y, x)))
            case 5:
                lo = int(rng.integers(channels))
                b.slice(x, lo, int(rng.integers(1, channels - lo + 1)))
    last = len(b.shapes) - 1
    return b.done(*{last, *(int(i) for i in rng.integers(0, last + 1, outputs - 1))})


def everything(seed, ops=12):
    """Every kind of op that there is a builder's method for, with every activation, over one to three inputs.

    The first input has 8 channels and 6 times; lengths are 3, 6 and 12.
    """
    rng = np.random.default_rng([seed, 1])
    more = {f"r{n}": (int(rng.integers(1, 33)), int(rng.choice([3, 6, 12]))) for n in range(int(rng.integers(0, 3)))}
    b = Builder((8, 6), **more)
    for n in range(ops):
        x = int(rng.integers(max(0, len(b.shapes) - 5), len(b.shapes)))
        channels, length = b.shapes[x]
        groups = int(rng.choice([g for g in (1, 2, 4, 8) if channels % g == 0]))
        like = [v for v, shape in enumerate(b.shapes) if shape == b.shapes[x]]
        as_long = [v for v, (c, h) in enumerate(b.shapes) if h == length and c + channels < 80]
        match int(rng.integers(14)):
            case 0:
                b.conv(x, f"c{n}", int(rng.integers(1, 40)), k=int(rng.choice([1, 3, 5])), bias=bool(rng.integers(2)))
            case 1 if length > 3:
                b.conv(x, f"d{n}", int(rng.integers(1, 20)), k=3, stride=2)
            case 2 if length < 12:
                b.conv(x, f"u{n}", int(rng.integers(1, 20)), k=4, stride=2, pad=1, transposed=True)
            case 3:
                b.group_norm(x, f"n{n}", groups)
            case 4:
                b.channel_norm(x, f"l{n}")
            case 5:
                b.act(x, ACTS[rng.integers(len(ACTS))])
            case 6:
                b.add(x, int(rng.choice(like)))
            case 7 if as_long:
                b.concat(x, int(rng.choice(as_long)))
            case 8:
                lo = int(rng.integers(channels))
                b.slice(x, lo, int(rng.integers(1, channels - lo + 1)))
            case 9:
                b.step_bias(x)
            case 10 if channels % 3 == 0:
                b.emit("linear_attention", (x,), (channels // 3, length), heads=1, q_scale=0.5)
            case 11:
                kind = ("group_norm_vjp", "act_vjp")[rng.integers(2)]
                if kind == "act_vjp":
                    b.emit(kind, (x, int(rng.choice(like))), b.shapes[x], act=ACTS[rng.integers(len(ACTS))])
                else:
                    gamma = b._affine(f"v{n}", x)[:1]
                    b.emit(kind, (x, int(rng.choice(like))), b.shapes[x], gamma, groups=groups, eps=1e-5)
            case 12:
                b.film(x)
            case _:
                block(b, x, f"b{n}", channels=int(rng.choice([8, 16, 24])), groups=4)
    made = [op.outs[0] for op in b.ops]
    chosen = dict.fromkeys([made[-1], *(int(i) for i in rng.choice(made, 2))])
    return b.done(*chosen)


def broken(program, rng):
    """The arguments of a Program with one thing changed, which it rarely survives."""
    record = {
        "ops": list(program.ops), "shapes": list(program.shapes), "inputs": dict(program.inputs),
        "outputs": dict(program.outputs), "weights": dict(program.weights), "table_width": program.table_width,
    }  # fmt: skip
    at, value = int(rng.integers(len(program.ops))), int(rng.integers(len(program.shapes)))
    op = program.ops[at]
    match int(rng.integers(8)):
        case 0:
            channels, length = program.shapes[value]
            record["shapes"][value] = (channels + int(rng.choice([-1, 1])), length)
        case 1:
            channels, length = program.shapes[value]
            record["shapes"][value] = (channels, length + int(rng.choice([-1, 1])))
        case 2:
            ins = list(op.ins)
            ins[int(rng.integers(len(ins)))] = int(rng.integers(-2, len(program.shapes) + 2))
            record["ops"][at] = replace(op, ins=tuple(ins))
        case 3:
            record["ops"][at] = replace(op, outs=(int(rng.integers(-2, len(program.shapes) + 2)),))
        case 4:
            del record["ops"][at]
        case 5:
            record["ops"][at], record["ops"][-1] = record["ops"][-1], record["ops"][at]
        case 6 if program.weights:
            name = str(rng.choice(list(program.weights)))
            record["weights"][name] = tuple(n + int(rng.integers(0, 2)) for n in program.weights[name])
        case _:
            record["table_width"] = program.table_width - 1
    return record | {"ops": tuple(record["ops"]), "shapes": tuple(record["shapes"])}
