"""The case table: every op, every sampling loop, and the yardstick for errors. Read by tests, bench and ``doctor``.

    for result in run_ops(Target("cpu", isa="avx2")):
        assert result.verdict.passed, result

op_cases, loop_cases           the case table: programs and loops with their numbers, drawn from a name and a seed
targets, Target                what there is to judge here: backends, with each instruction set they have
run_ops, run_loops, run_steps  the cases on a target: a verdict on every output, plan and denoising step
judge, Verdict                 the yardstick (DESIGN: error against float64, beside the reference's own)
random_checkpoint              networks in which nothing is trivially zero or one
"""

from .loops import MASKS, LoopCase, loop_cases, single_step
from .ops import OpCase, op_cases
from .runs import CaseResult, quick_check, run_loops, run_ops, run_steps
from .targets import EXACT, REFERENCE, Target, targets
from .weights import random_checkpoint, random_weights
from .yardstick import FACTORS, TINY, Verdict, judge

__all__ = [
    "EXACT", "FACTORS", "MASKS", "REFERENCE", "TINY", "CaseResult", "LoopCase", "OpCase", "Target", "Verdict", "judge",
    "loop_cases", "op_cases", "quick_check", "random_checkpoint", "random_weights", "run_loops", "run_ops", "run_steps",
    "single_step", "targets",
]  # fmt: skip
