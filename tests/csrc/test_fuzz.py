"""Programs of random ops, valid and broken: no engine crashes, hangs, or differs from the interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from core.random_programs import broken, everything

from csrc import implied
from csrc.engines import every_isa, needs_engine
from diffuser_fast.backends import cpu
from diffuser_fast.conformance.error_bounds import judge
from diffuser_fast.core.passes import fuse
from diffuser_fast.core.program import Program, ProgramError

pytestmark = needs_engine
HERE = Path(__file__).resolve().parents[1]


@every_isa
@pytest.mark.parametrize("seed", range(40))
def test_valid_programs(isa, seed):
    """Every kind of op, as it is and fused, one thread and two, a table for all and one for each trajectory."""
    program, batch = everything(seed), 1 + seed % 4
    weights, inputs, table, _ = implied.drawn(program, batch, seed)
    if table is not None and seed % 2:
        table = np.random.default_rng(seed).standard_normal((batch, *table.shape)).astype(np.float32)
    bounds = implied.by_program(program, weights, inputs, table)
    for each in (program, fuse(program)):
        found = cpu.evaluate(each, weights, inputs, table, isa=isa)
        again = cpu.evaluate(each, weights, inputs, table, threads=2, isa=isa)
        for name, bound in bounds.items():
            verdict = judge(found[name], bound)
            assert verdict.passed, f"{name}: {verdict}\n{each}"
            np.testing.assert_array_equal(again[name], found[name])


@pytest.mark.parametrize("seed", range(200))
def test_broken_programs_are_refused(seed):
    """One thing is changed; what is still a program (rarely) means something and runs."""
    record = broken(everything(seed), np.random.default_rng(seed))
    try:
        program = Program(**record)
    except ProgramError as error:
        assert len(str(error)) > 10
        return
    weights, inputs, table, bounds = implied.drawn(program, 1, seed)
    for name, found in cpu.evaluate(program, weights, inputs, table).items():
        assert judge(found, bounds[name]).passed


@pytest.mark.parametrize("start", range(0, 1200, 300))
def test_mutated_words_are_refused_or_run(start):
    """Serialized words changed at random: a ValueError, or a run that stays in its memory and ends. In a process of its
    own, for a crash and a wait without end must be seen as what they are.
    """
    command = [sys.executable, "-m", "csrc.mutate", str(start), str(start + 300)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-300:]} {done.stderr[-3000:]}"
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["refused"] > 200 and counts["refused"] + counts["ran"] == 300
