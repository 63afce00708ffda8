"""Several situations in one call: the plans of Planner.plan for as many, bit for bit, and of one call for each."""

import numpy as np
import pytest
from csrc.engines import needs_engine

import diffuser_fast as dfx
from capi import library as lib
from capi.checkpoints import A, H, O, exported, planner
from capi.library import ARGUMENT, UNSUPPORTED, Bundle, CExecutor, CPlanner, Refused, needs_library
from diffuser_fast.planner import Replay

pytestmark = [needs_engine, *needs_library]
E = 3
FINISH = ("full", "strided", "restrided", "finishing", "shifted")
SEEN = np.random.default_rng(0).normal(0.3, 0.5, (E, O))
PARTS = np.random.default_rng(1).normal(0.3, 0.5, E)
EACH = [{0: SEEN[e], -1: {1: PARTS[e]}} for e in range(E)]


def same(found, expected):
    for array, name in zip(found, ("actions", "observations", "values"), strict=False):
        assert array.tobytes() == np.ascontiguousarray(getattr(expected, name)).tobytes(), name
    assert found[-1].rows == expected.denoising_steps and FINISH[found[-1].finish] == expected.finish


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", [{}, {"guided": False}, {"batch_size": 1}, {"clip_scope": "array"}], ids=str)
def test_the_bits(tmp_path, options, threads):
    made = planner(**options)
    bundle = Bundle(exported(tmp_path, made))
    c, one = CPlanner(bundle, situations=E, threads=threads), CPlanner(bundle)
    assert c.info.situations == E
    for seed, number in ((0, 0), (2**63 + 1, 9)):
        made.reset(seed)
        found = c.plan([{0: SEEN[e]} for e in range(E)], seed, number)
        same(found, made.plan({0: SEEN}, number=number))
        if options.get("clip_scope") == "array":
            continue
        found = c.plan(EACH, seed, number)
        for e in range(E):  # as one after another
            alone = one.plan(EACH[e], seed, number + e)
            assert [a[e].tobytes() for a in found[:3]] == [a.tobytes() for a in alone[:3]]
    same(c.plan([{}] * E, 0, 1), one_after_another(made))


def one_after_another(made):
    """Without conditions Python plans one situation at once."""
    made.reset(0)
    plans = [made.plan({}, number=1 + e) for e in range(E)]
    stacked = {name: np.stack([getattr(p, name) for p in plans]) for name in ("actions", "observations", "values")}
    return dfx.planner.Plans(**stacked, latency_ms=0, exactness="exact", denoising_steps=plans[0].denoising_steps)


def test_prefixes_warm_starts_and_replays(tmp_path):
    made = planner(warm_start=3)
    c = CPlanner(Bundle(exported(tmp_path, made)), situations=E)
    rng = np.random.default_rng(2)
    prefix = dfx.Prefix(rng.normal(0.3, 0.5, (E, 2, A)), rng.normal(0.3, 0.5, (E, 2, O)), at=1)
    first = [{0: SEEN[e]} for e in range(E)]
    same(c.plan(first, number=4, prefix=prefix), made.plan({0: SEEN}, number=4, prefix=prefix))
    assert c.last.tobytes() == made._last.tobytes()
    last = c.last.copy()
    warm = {"last": last, "warm_rows": 3, "shift": 2}
    found = c.plan(first, number=7, prefix=prefix, **warm)
    expected = made.plan({0: SEEN}, number=7, prefix=prefix, warm=True, shift=2)
    same(found, expected)
    assert (found[0][:, :, 1:3] == prefix.actions[:, None].astype(np.float32)).all()
    rows = c.ran.ctypes.data_as(type(found[-1].ran))
    same(c.plan(first, number=7, prefix=prefix, **warm, replay=rows, n_replay=len(c.ran)), expected)


def test_deadlines(tmp_path):
    """Whatever is run, Python makes it again; not one denoising step: the last plans, moved on."""
    made = planner(warm_start=3, batch_size=2)
    c = CPlanner(Bundle(exported(tmp_path, made)), situations=E)
    c.calibrate()
    first = [{0: SEEN[e]} for e in range(E)]
    c.plan(first)
    last, finishes = c.last.copy(), set()
    for number, ms in enumerate((0, 0.02, 0.1, 0.3, 1000)):
        for warm in ({}, {"last": last, "warm_rows": 3, "shift": 1}):
            found = c.plan(first, number=number, deadline_ns=lib.library().dfx_now() + int(ms * 1e6) + 1, **warm)
            finish = FINISH[found[-1].finish]
            finishes.add(finish)
            replay = Replay(0, number, c.ran.reshape(c.info.groups, -1).copy(), last if warm else None, 1, finish)
            same(found, made.plan({0: SEEN}, replay=replay))
    assert {"full", "shifted"} < finishes


def test_what_is_wrong(tmp_path):
    bundle = Bundle(exported(tmp_path))
    for situations in (-1, 2**20, 2**31 - 1):
        with pytest.raises(Refused, match=r"options\.situations: found") as refused:
            CPlanner(bundle, situations=situations)
        assert refused.value.status == ARGUMENT
    c = CPlanner(bundle, situations=E)
    for others in ({1: SEEN[2]}, {0: {1: 0.0}}):
        with pytest.raises(Refused, match="situation 2 has others than the first") as refused:
            c.plan([{0: SEEN[0]}, {0: SEEN[1]}, others])
        assert refused.value.status == ARGUMENT
    with pytest.raises(Refused, match=r"conditions\[2\]\.observation\[0\]: not finite"):
        c.plan([{0: SEEN[0]}, {0: SEEN[1]}, {0: np.full(O, np.nan)}])
    for name, size in (("n_actions", E * 3 * H * A), ("n_last", E * H * (A + O))):
        request, _keep = c.request([{0: SEEN[e]} for e in range(E)])
        plan, last = c.out(c.arrays()), np.zeros((E, H, A + O), np.float32)
        plan.last, plan.n_last = last.ctypes.data_as(type(plan.last)), last.size
        setattr(plan, name, size - 1)
        assert lib.library().dfx_planner_plan(c.handle, lib.byref(request), lib.byref(plan)) == ARGUMENT
        said = lib.library().dfx_planner_error(c.handle).decode()
        assert f"plan.{name}: found {size - 1}, expected at least {size}" in said
    with pytest.raises(Refused, match="several situations, an executor for one"):
        CExecutor(c, delay=1)
    close = Bundle(exported(tmp_path, planner(guided=False, precision="float32-close"), batch_sizes=[6]))
    CPlanner(close, situations=2)  # six plans
    with pytest.raises(Refused, match="this bundle has none of 9 plans") as refused:
        CPlanner(close, situations=3)
    assert refused.value.status == UNSUPPORTED
