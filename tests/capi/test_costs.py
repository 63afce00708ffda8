"""What denoising steps are thought to cost is the same in C++ as in Python, to the bit."""

import subprocess

import numpy as np
import pytest
from csrc.engines import needs_engine

from capi.library import built, needs_library
from diffuser_fast.core.costs import MODES, Costs, Measured
from diffuser_fast.core.samplers import StepTable

pytestmark = [needs_engine, *needs_library]


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "unguided"])
@pytest.mark.parametrize("seed", range(4))
def test_the_bits(seed, guided):
    rng = np.random.default_rng(seed)
    guides = rng.integers(0, 3, 12) if guided else np.zeros(12, int)
    steps = StepTable(np.arange(12)[::-1], 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, guide_steps=guides)
    some = lambda: rng.integers(0, 12, rng.integers(1, 9)).tolist()
    time = lambda rows: float((1e-3 + 2e-3 * len(rows) + 1e-3 * guides[rows].sum()) * rng.lognormal(0, 0.3))
    measured = [Measured(rows, time(rows)) for rows in (some() for _ in range(5))]
    costs, threads = Costs(steps, measured, threads=2), 2
    told = [f"m {len(m.rows)} {guides[list(m.rows)].sum()} {m.seconds.hex()}" for m in measured]
    expected = []
    for _ in range(300):
        mode, rows = int(rng.integers(2)), some()
        if rng.random() < 0.5:
            seconds = time(rows) * (30 if rng.random() < 0.05 else 1)
            costs.learn(rows, seconds, MODES[mode])
            told.append(f"l {mode} {seconds.hex()} {' '.join(map(str, rows))}")
        else:
            seconds = float(rng.normal(1e-4, 1e-3) * (100 if rng.random() < 0.05 else 1))
            costs.answered(seconds, MODES[mode])
            told.append(f"a {mode} {seconds.hex()}")
        named = (costs.once, costs.margin(MODES[mode]), costs.reserve(MODES[mode]), costs.plan(3, 5, MODES[mode]))
        expected.append((*named, *costs.nanoseconds(MODES[mode]).tolist()))
    words = [built("costs") / "costs_trace", str(threads), *map(str, guides)]
    found = subprocess.run(words, input="\n".join(told), capture_output=True, text=True, check=True).stdout.splitlines()
    found = [[float.fromhex(w) if "x" in w else int(w) for w in line.split()] for line in found]
    assert found == [list(line) for line in expected]
    assert len({line[2] for line in found}) > 30  # it has learnt
