"""Serialized programs with words changed at random, opened and, if the engine takes them, run: see test_fuzz.py.

python -m csrc.mutate 0 300     seeds 0 .. 299; prints {"refused": ..., "ran": ...}
"""

import json
import sys
from dataclasses import replace

import numpy as np
from core.random_programs import everything

from csrc.engines import random_weights
from diffuser_fast.backends.cpu import PRECISIONS
from diffuser_fast.backends.cpu.engine import open_engine
from diffuser_fast.backends.cpu.records import records
from diffuser_fast.core.ops import VALUE_FIELDS
from diffuser_fast.core.passes import fuse

INTERESTING = (-(2**31), -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 64, 255, 4096, 2**16, 2**20, 2**31 - 1)
CHANNELS, LENGTH = VALUE_FIELDS.index("channels"), VALUE_FIELDS.index("length")


def mutated(record, rng):
    """One to three words changed; or another size, table or weight."""
    arrays = {name: getattr(record, name).copy() for name in ("ops", "values", "inputs", "outputs", "layouts")}
    others = {}
    for _ in range(rng.integers(1, 4)):
        name = str(rng.choice(["ops", "ops", "ops", "values", "values", "inputs", "outputs", "layouts", "other"]))
        if name == "other":
            others |= {
                "size": lambda: {"size": max(record.size - 16 * int(rng.integers(1, 9)), 0)},
                "table": lambda: {"table_width": int(rng.integers(0, 2 * record.table_width + 2))},
                "weights": lambda: {"weights": [w.reshape(-1)[: max(1, w.size // 2)] for w in record.weights]},
            }[str(rng.choice(["size", "table", "weights"]))]()
        elif arrays[name].size:
            words = arrays[name].reshape(-1)
            at = rng.integers(len(words))
            choices = (
                rng.choice(INTERESTING), words[rng.integers(len(words))], int(words[at]) + rng.choice([-16, -1, 1, 16]),
                rng.integers(-(2**31), 2**31),
            )  # fmt: skip
            words[at] = np.clip(choices[rng.integers(4)], -(2**31), 2**31 - 1)
    return replace(record, **arrays, **others)


def tried(seed):
    """Whether the engine took it. What it wrote past an output is an AssertionError."""
    rng, batch = np.random.default_rng(seed), 1 + seed % 3
    program = everything(seed % 60)
    program = fuse(program) if seed % 2 else program
    weights = random_weights(program.weights)
    (record,) = records([(program, weights)], PRECISIONS[seed % 3], batch)
    record = mutated(record, rng)
    try:
        engine = open_engine([record], batch, 6, 8, threads=1 + seed % 2, isa=None)
    except ValueError:
        return False

    def shape(value):
        return batch, int(record.values[value, CHANNELS]), int(record.values[value, LENGTH])

    inputs = [np.ones(shape(v), np.float32) for v in record.inputs]
    outputs = [np.full(np.prod(shape(v)) + 128, np.nan, np.float32) for v in record.outputs]
    table = np.ones(record.table_width, np.float32) if record.table_width else None
    engine.run(0, inputs, table, [y[64:-64] for y in outputs], float("nan"))
    assert all(np.isnan(y[:64]).all() and np.isnan(y[-64:]).all() for y in outputs), "an output was overrun"
    return True


if __name__ == "__main__":
    taken = 0
    for seed in range(*map(int, sys.argv[1:3])):
        print(seed, flush=True)  # the last line of a crash says which it was
        taken += tried(seed)
    print(json.dumps({"refused": int(sys.argv[2]) - int(sys.argv[1]) - taken, "ran": taken}))
