"""Programs of random ops, for properties that must hold of all of them."""

import numpy as np

from diffuser_fast.core.program import Builder


def block(b, x, name="c", channels=8, groups=4):
    """conv, group_norm, act: what fuse makes one op of."""
    return b.mish(b.group_norm(b.conv(x, f"{name}.conv", channels, k=3), f"{name}.norm", groups))


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
                b.mish(x)
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
    b = Builder((int(rng.integers(1, 20)), 6), (int(rng.integers(1, 40)), 6))
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
                b.mish(x)
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
