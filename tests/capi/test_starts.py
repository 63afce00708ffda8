"""Prefixes and plans that start from an earlier one: in C as in Python, bit for bit, with a deadline too."""

import numpy as np
import pytest
from csrc.engines import needs_engine

import diffuser_fast as dfx
from capi.checkpoints import KINDS, A, H, O, T, exported, planner
from capi.library import ARGUMENT, Bundle, CPlanner, Refused, library, needs_library
from diffuser_fast.planner import Replay

pytestmark = [needs_engine, *needs_library]
FINISH = ("full", "strided", "restrided", "finishing", "shifted")
NOW, GOAL = np.array([0.1, 0.3, 0.2]), {1: 0.4}
CONDITIONS = {0: NOW, -1: GOAL}
rng = np.random.default_rng(0)
ROWS = rng.normal(0.3, 0.5, (3, A)), rng.normal(0.3, 0.5, (3, O))
PREFIXES = (
    dfx.Prefix(ROWS[0]), dfx.Prefix(ROWS[0][:2], at=3), dfx.Prefix(None, ROWS[1], at=1), dfx.Prefix(*ROWS, at=2),
    dfx.Prefix(rng.normal(0.3, 0.5, (H, A))),
)  # fmt: skip


def same(found, expected):
    for array, name in zip(found, ("actions", "observations", "values"), strict=False):
        assert array.tobytes() == np.ascontiguousarray(getattr(expected, name)).tobytes(), name
    plan = found[-1]
    assert plan.rows == expected.denoising_steps and FINISH[plan.finish] == expected.finish
    assert ("exact", "close", "fast", "approximate")[plan.exactness] == expected.exactness


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("guided", [True, False], ids=["guided", "unguided"])
def test_prefixes(tmp_path, guided, kind):
    made = planner(guided, kind)
    c = CPlanner(Bundle(exported(tmp_path, made)))
    for number, prefix in enumerate(PREFIXES):
        found = c.plan(CONDITIONS, number=number, prefix=prefix)
        same(found, made.plan(CONDITIONS, number=number, prefix=prefix))
        for given, rows in ((prefix.actions, found[0]), (prefix.observations, found[1])):
            if given is not None:
                assert (rows[:, prefix.rows] == given.astype(np.float32)).all()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "options", [{"batch_size": 1}, {"batch_size": 3}, {"guided": False}, {"sampler": "dpm_solver_pp_2m", "n_steps": 4}],
    ids=str,
)  # fmt: skip
def test_warm_starts(tmp_path, options, threads):
    """One after another, by so many denoising steps and moved on by so many rows: with a prefix, and again."""
    for warm in (1, 2, 4):
        made = planner(warm_start=warm, **options)
        c = CPlanner(Bundle(exported(tmp_path, made)), threads=threads)
        same(c.plan(CONDITIONS, number=9), made.plan(CONDITIONS, number=9))
        for number, shift in enumerate((0, 1, 3, H + 2)):
            prefix, last = PREFIXES[number], c.last.copy()
            expected = made.plan(CONDITIONS, number=number, warm=True, shift=shift, prefix=prefix)
            asked = {"number": number, "prefix": prefix, "last": last, "warm_rows": warm, "shift": shift}
            found = c.plan(CONDITIONS, **asked)
            same(found, expected)
            assert c.last.tobytes() == made._last.tobytes()
            again = c.plan(CONDITIONS, **asked, replay=c.ran.ctypes.data_as(type(found[-1].ran)), n_replay=len(c.ran))
            same(again, expected)


def test_warm_starts_with_a_deadline(tmp_path):
    """All that fits; where not one denoising step does, the last plan, moved on, under the new conditions. Python makes
    each of them again, and so does C."""
    made = planner(warm_start=4, batch_size=2)
    c = CPlanner(Bundle(exported(tmp_path, made)))
    c.calibrate()
    began = library().dfx_now()
    c.plan(CONDITIONS)
    whole, finishes = library().dfx_now() - began, set()
    for number, part in enumerate((-1, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1000)):
        last = c.last.copy()
        deadline = max(library().dfx_now() + int(part * whole), 1)
        asked = {"number": number, "last": last, "warm_rows": 4, "shift": 2}
        found = c.plan({0: NOW + 0.1 * number, -1: GOAL}, deadline_ns=deadline, **asked)
        finish = FINISH[found[-1].finish]
        finishes.add(finish)
        replay = Replay(0, number, c.ran.reshape(c.info.groups, -1).copy(), last[None], 2, finish)
        expected = made.plan({0: NOW + 0.1 * number, -1: GOAL}, replay=replay)
        same(found, expected)
        rows = c.ran.ctypes.data_as(type(found[-1].ran))
        again = c.plan({0: NOW + 0.1 * number, -1: GOAL}, **asked, replay=rows, n_replay=len(c.ran))
        assert [a.tobytes() for a in again[:3]] == [a.tobytes() for a in found[:3]]
        if finish == "shifted":
            assert not found[2].any() and found[-1].rows == 0
            moved = made._physical(last[np.minimum(np.arange(H) + 2, H - 1)][None])
            assert (found[0][0] == moved[0]).all() and (found[1][0, 1:-1] == moved[1][0, 1:-1]).all()
            assert np.allclose(found[1][0, 0], NOW + 0.1 * number)
    assert {"shifted", "full"} <= finishes


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prefix_at": -1}, "prefix_at, prefix_length: found -1 and 3, expected rows of the horizon 8"),
        ({"prefix_at": 2**31 - 1}, "prefix_at"),
        ({"prefix_length": -1}, "prefix_at, prefix_length"),
        ({"prefix_length": H + 1}, "prefix_at, prefix_length"),
        ({"n_last": H * (A + O) - 1}, f"n_last: found {H * (A + O) - 1}, expected {H * (A + O)}"),
        ({"warm_rows": 0}, f"warm_rows: found 0, expected 1 to {T}"),
        ({"warm_rows": T + 1}, "warm_rows: found"),
        ({"shift": -1}, "shift: found -1"),
        ({"last": None}, "warm_rows: without `last`"),
    ],
)
def test_wrong_requests(tmp_path, change, sentence):
    c = CPlanner(Bundle(exported(tmp_path)))
    request, _keep = c.request(CONDITIONS)
    _alive = c.started(request, PREFIXES[0], np.zeros((H, A + O)), 2, 1)
    for name, value in change.items():
        setattr(request, name, value)
    from ctypes import byref

    assert library().dfx_planner_plan(c.handle, byref(request), byref(c.out(c.arrays()))) == ARGUMENT
    assert sentence in library().dfx_planner_error(c.handle).decode()


def test_wrong_rows(tmp_path):
    c = CPlanner(Bundle(exported(tmp_path)))
    for prefix, sentence in (
        (dfx.Prefix(None, ROWS[1]), "prefix_observations: row 0 is given by conditions already"),
        (dfx.Prefix(np.full((1, A), 1e300)), "prefix_actions: 1e+300 is too large"),
    ):
        with pytest.raises(Refused) as refused:
            c.plan(CONDITIONS, prefix=prefix)
        assert refused.value.status == ARGUMENT and sentence in refused.value.text
    with pytest.raises(Refused, match="last\\[3\\]: not finite"):
        c.plan(CONDITIONS, last=np.where(np.arange(H * (A + O)) == 3, np.nan, 0), warm_rows=1)
    same(c.plan(CONDITIONS), planner().plan(CONDITIONS, number=0))
