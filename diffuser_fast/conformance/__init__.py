"""The case table: every op, every sampling loop, and the bounds of their errors. Read by tests, bench and ``doctor``.

    for result in run_ops(Target("cpu", isa="avx2")):
        assert result.verdict.passed, result

op_cases, loop_cases           the table: programs and loops with their numbers, drawn from a name and a seed
targets, Target                what there is to judge here: backends, with each instruction set they have
run_ops, run_loops, run_steps  the table on a target: a verdict on every output, plan and denoising step
implied_by_program, _by_plan   the error that a precision implies, from the computation alone
judge, Verdict                 whether an error against float64 is within its multiple of what is implied
random_checkpoint              networks in which nothing is trivially zero or one
"""

from .arithmetic import ARITHMETIC, Arithmetic
from .error_bounds import MULTIPLES, Implied, Verdict, judge
from .implied import ImpliedPlan, implied_by_plan, implied_by_program
from .loops import MASKS, LoopCase, last_steps, loop_cases, single_step
from .ops import OpCase, op_cases
from .runs import CaseResult, quick_check, run_loops, run_ops, run_steps
from .targets import EXACT, REFERENCE, Target, targets
from .weights import random_checkpoint, random_weights

__all__ = [
    "ARITHMETIC", "EXACT", "MASKS", "MULTIPLES", "REFERENCE", "Arithmetic", "CaseResult", "Implied", "ImpliedPlan",
    "LoopCase", "OpCase", "Target", "Verdict", "implied_by_plan", "implied_by_program", "judge", "last_steps",
    "loop_cases", "op_cases", "quick_check", "random_checkpoint", "random_weights", "run_loops", "run_ops", "run_steps",
    "single_step", "targets",
]  # fmt: skip
