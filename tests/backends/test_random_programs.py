"""Programs of random ops on everything that can run here: no engine differs from the reference or the textbook."""

import numpy as np
import pytest
from core import interpreter
from core.random_programs import everything

from diffuser_fast import conformance as c


@pytest.mark.parametrize("seed", range(30))
def test_a_random_program(seed):
    program, batch, rng = everything(seed + 1000), 1 + seed % 3, np.random.default_rng(seed)
    case = c.OpCase(f"random {seed}", program, batch)
    table = case.table
    if table is not None and seed % 2:  # one for each trajectory
        case.__dict__["table"] = table = rng.standard_normal((batch, *table.shape)).astype(np.float32)
    wanted = interpreter.run(program, case.weights, case.inputs, table)
    for target in c.targets():
        implied = c.implied_by_program(program, case.weights, case.inputs, table, target.arithmetic)
        for name, found in target.evaluate(case).items():
            verdict = c.judge(found, implied[name], exactness=target.exactness)
            assert verdict.passed, f"{target}: {name}: {verdict}\n{program}"
    exact = c.implied_by_program(program, case.weights, case.inputs, table, c.ARITHMETIC["float64"])
    for name, found in c.EXACT.evaluate(case).items():
        for numbers in (found, wanted[name]):
            assert c.judge(numbers, exact[name], sides=2).passed, f"float64: {name}\n{program}"
