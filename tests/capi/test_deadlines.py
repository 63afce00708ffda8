"""Plans with a deadline in C: finished, told truly, and Python makes the same bits again. No clock is judged."""

import numpy as np
import pytest
from csrc.engines import needs_engine

import diffuser_fast as dfx
from capi.checkpoints import O, exported, planner
from capi.library import Bundle, CPlanner, library, needs_library

pytestmark = [needs_engine, *needs_library]
FINISH = ("full", "strided", "restrided", "finishing")
CONDITIONS = {0: np.full(O, 0.2), -1: {1: 0.1}}


def replay(c, plan, number):
    """What Python needs to make a plan of C again."""
    return dfx.planner.plans.Replay(0, number, c.ran.reshape(c.info.groups, -1).copy(), finish=FINISH[plan.finish])


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 1}, {"batch_size": 3}, {"batch_size": 3, "guided": False}, {"batch_size": 40},
     {"batch_size": 1, "threads": 2}, {"sampler": "dpm_solver_pp_2m", "n_steps": 4}],
    ids=str,
)  # fmt: skip
def test_python_makes_the_same_plan_again(tmp_path, options):
    made = planner(**options)
    c = CPlanner(Bundle(exported(tmp_path, made)), threads=options.get("threads", 1))
    c.calibrate()
    began = library().dfx_now()
    c.plan(CONDITIONS)
    full = library().dfx_now() - began
    finishes = set()
    for number, part in enumerate((0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.5, 1000)):
        deadline = library().dfx_now() + int(part * full) + 1
        *found, plan = c.plan(CONDITIONS, number=number, deadline_ns=deadline)
        assert plan.deadline_met == (plan.ended_ns <= deadline)
        finishes.add(FINISH[plan.finish])
        expected = made.plan(CONDITIONS, replay=replay(c, plan, number))
        for array, name in zip(found, ("actions", "observations", "values"), strict=True):
            assert array.tobytes() == np.ascontiguousarray(getattr(expected, name)).tobytes()
        assert plan.rows == len(expected.rows)
        assert ("approximate" if plan.finish else made.exactness) == ("exact", "close", "fast", "approximate")[
            plan.exactness
        ]
        *again, second = c.plan(
            CONDITIONS, number=number, replay=c.ran.ctypes.data_as(type(plan.ran)), n_replay=len(c.ran)
        )
        assert [a.tobytes() for a in again] == [a.tobytes() for a in found]
        assert second.rows == plan.rows and second.deadline_met == 1
    assert {"full"} < finishes  # all denoising steps where there is time, fewer where there is none


def test_statuses_are_true(tmp_path):
    """A deadline that has passed: the cheapest plan there is, and late; one far away: all of them, and met."""
    made = planner(batch_size=2)
    c = CPlanner(Bundle(exported(tmp_path, made)))
    c.calibrate(1000)
    *_, late = c.plan(CONDITIONS, deadline_ns=1)
    assert late.deadline_met == 0 and late.rows == min(len(choice.rows) for choice in made.budget.menu.choices)
    assert FINISH[late.finish] in ("strided", "finishing") and late.ended_ns > late.started_ns
    *_, early = c.plan(CONDITIONS, deadline_ns=library().dfx_now() + 10**12)
    assert (early.deadline_met, early.finish, early.rows) == (1, 0, 6)
    *_, least = c.plan(CONDITIONS, deadline_ns=1, min_rows=3)
    assert least.rows == 1  # it may begin with three, and leaves them at once


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "unguided"])
def test_a_first_plan_with_a_deadline(tmp_path, guided):
    """After a brief calibration, of the least there is: in time where there is time, and told truly where not."""
    c = CPlanner(Bundle(exported(tmp_path, planner(guided, batch_size=2))))
    c.calibrate(-1)  # DFX_BRIEFLY
    for ns, met in ((1, 0), (10**12, 1)):
        *_, plan = c.plan(CONDITIONS, deadline_ns=library().dfx_now() * met + ns)
        assert (plan.deadline_met, plan.finish == 0) == (met, bool(met)) and (plan.rows == 6) == bool(met)


def test_without_a_deadline_it_is_met(tmp_path):
    *_, plan = CPlanner(Bundle(exported(tmp_path))).plan(CONDITIONS)
    assert (plan.deadline_met, plan.finish) == (1, 0)
