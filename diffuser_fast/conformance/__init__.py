"""The case table: every op, every sampling loop, and the bounds of their errors. Read by tests, bench and ``doctor``.

    for row in run_ops(Target("cpu", isa="avx2")):
        assert row.verdict.passed, row

op_cases, loop_cases           the table: programs and loops with their numbers, drawn from a name and a seed
targets, Target                what there is to judge here: backends, with each instruction set they have
run_ops, run_loops, run_rows   the table on a target: a verdict on every output, plan and row
implied_by_program, _by_plan   the error that a precision implies, from the computation alone
judge, Verdict                 whether an error against float64 is within its multiple of what is implied
random_checkpoint              networks in which nothing is trivially zero or one
"""

from .arithmetic import ARITHMETIC, Arithmetic
from .error_bounds import MULTIPLES, Implied, Verdict, judge
from .implied import ImpliedPlan, implied_by_plan, implied_by_program
from .loops import KNOWN, LoopCase, loop_cases, row_of
from .ops import OpCase, op_cases
from .runs import Row, quick_check, run_loops, run_ops, run_rows
from .targets import EXACT, REFERENCE, Target, targets
from .weights import random_checkpoint, random_weights

__all__ = [
    "ARITHMETIC", "EXACT", "KNOWN", "MULTIPLES", "REFERENCE", "Arithmetic", "Implied", "ImpliedPlan", "LoopCase",
    "OpCase", "Row", "Target", "Verdict", "implied_by_plan", "implied_by_program", "judge", "loop_cases", "op_cases",
    "quick_check", "random_checkpoint", "random_weights", "row_of", "run_loops", "run_ops", "run_rows", "targets",
]  # fmt: skip
