"""Op cases launched and judged."""

import torch
from bounds import within

from diffuser_fast import conformance as c
from diffuser_fast.backends.triton.one_program import launched as evaluated
from diffuser_fast.backends.triton.target import Target

INTERPRETER = Target()


def launched(case, target=INTERPRETER, table=None):
    """The outputs of an op case, as launched for a target, each within its bound. table: instead of the case's own."""
    table = case.table if table is None else table
    found = evaluated(case.program, case.weights, case.inputs, table, target, torch.device("cpu"))
    implied = c.implied_by_program(case.program, case.weights, case.inputs, table)
    assert set(found) == set(implied)
    for name in found:
        within(found[name], implied[name], f"{case.name}: {name}")
    return found
