"""A plan in C is the plan in Python, bit for bit: every normaliser, precision, sampler and instruction set."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest
from csrc.engines import every_isa, needs_engine

import diffuser_fast as dfx
from capi.checkpoints import KINDS, A, H, O, exported, planner
from capi.library import CLIPPED, UNSUPPORTED, Bundle, CPlanner, Refused, needs_library
from diffuser_fast.backends import cpu

pytestmark = [needs_engine, *needs_library]
EXACTNESS = ("exact", "close", "fast", "approximate")


def conditions(seed=0, scale=1.0):
    """A whole observation, one dimension of another counted from the end, and two of a third."""
    x = np.random.default_rng(seed).normal(0.3, scale, (3, O))
    return {0: x[0], -1: {1: x[1, 1]}, 3: {0: x[2, 0], 2: x[2, 2]}}


def same(found, expected):
    for array, name in zip(found, ("actions", "observations", "values"), strict=False):
        wanted = np.ascontiguousarray(getattr(expected, name))
        assert array.tobytes() == wanted.tobytes(), f"{name}: {np.abs(array - wanted).max()}"
    assert EXACTNESS[found[-1].exactness] == expected.exactness
    assert found[-1].rows == expected.denoising_steps
    assert bool(found[-1].notes & CLIPPED) == expected.clipped


def agree(folder, made, seeds=(0, 2**63 + 5), numbers=(0, 2**32 - 1), scale=0.5, **options):
    bundle = Bundle(exported(folder, made))
    c = CPlanner(bundle, **options)
    for seed in seeds:
        made.reset(seed)
        for number in numbers:
            asked = conditions(number % 7, scale)
            same(c.plan(asked, seed, number), made.plan(asked, number=number))
    same(c.plan({}, seeds[-1], 5), made.plan({}, number=5))
    bundle.self_test()
    c.close()
    bundle.close()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("guided", [True, False], ids=["guided", "unguided"])
def test_normalizers(tmp_path, kind, guided):
    agree(tmp_path, planner(guided, kind))


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "unguided"])
def test_observations_before_actions(tmp_path, guided):
    agree(tmp_path, planner(guided, observed="before"))


@pytest.mark.parametrize("guided", [True, False], ids=["beside a value", "alone"])
def test_a_cost(tmp_path, guided):
    """It is part of the guide's network, and so of the bundle."""
    cost = dfx.Cost.keep_out((0.3, -0.2), 1.2, 0.2) + dfx.Cost.waypoint((0.1, 0.1), -1)
    agree(tmp_path, planner(guided, cost=cost))


@every_isa
@pytest.mark.parametrize("precision", cpu.PRECISIONS)
def test_precisions_and_instruction_sets(tmp_path, monkeypatch, isa, precision):
    monkeypatch.setattr(cpu, "SETTINGS", replace(cpu.SETTINGS, isa=isa))
    agree(tmp_path, planner(precision=precision, attention=True), isa=isa)


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "ddim", "n_steps": 3}, {"sampler": "ddim", "n_steps": 4, "eta": 0.5}, {"n_steps": 2},
        {"sampler": "dpm_solver_pp_2m", "n_steps": 4}, {"guide": None}, {"guide": dfx.Guide(n_steps=0)},
        {"batch_size": 1}, {"batch_size": 40},
    ],
    ids=str,
)  # fmt: skip
def test_samplers_and_sizes(tmp_path, options):
    agree(tmp_path, planner(**options), seeds=(3,))


@pytest.mark.filterwarnings("ignore:conditions")
@pytest.mark.parametrize("scope", ["plan", "array"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_beyond_the_data(tmp_path, scope, kind):
    """Of many plans some are clipped, or all are; of conditions likewise."""
    agree(tmp_path, planner(kind=kind, clip_scope=scope, batch_size=9), seeds=(1,), numbers=range(4), scale=4.0)
    agree(tmp_path, planner(kind=kind, clip_scope=scope, clip=True), seeds=(1,), numbers=range(2), scale=4.0)


def test_clip_scopes(tmp_path):
    """A condition that is just beyond the limits stays as it is in a plan that is not clipped, and the scope is what
    decides that: both planners see it, and plans in which they differ.
    """
    edge = planner().checkpoint.normalizers.observations.unnormalize(np.array([1 + 5e-5, 0, 0]))
    made = {scope: planner(guided=False, gain=0.7, clip_scope=scope, batch_size=9) for scope in ("plan", "array")}
    cs = {scope: CPlanner(Bundle(exported(tmp_path, one))) for scope, one in made.items()}
    changed = []
    for number in range(8):
        found = {scope: c.plan({0: edge}, number=number) for scope, c in cs.items()}
        for scope, one in found.items():
            same(one, made[scope].plan({0: edge}, number=number))
        changed += list((found["plan"][1] != found["array"][1]).any(axis=(1, 2)))
    assert 0 < sum(changed) < len(changed)


def test_threads(tmp_path):
    agree(tmp_path, planner(batch_size=1), threads=2)
    agree(tmp_path, planner(batch_size=4), threads=2)


def test_the_bundled_planner(tmp_path):
    made = dfx.Planner(dfx.load("maze2d-umaze"), n_steps=4, threads=1)
    bundle = Bundle(dfx.export(made, tmp_path / "umaze.dfb"))
    asked = {0: [3.0, 1.0, 0, 0], -1: [1.0, 1.0, 0, 0]}
    same(CPlanner(bundle).plan(asked, number=1), made.plan(asked, number=1))


def test_horizons_and_batches(tmp_path):
    made = planner(guided=False, precision="float32-close")
    bundle = Bundle(exported(tmp_path, made, horizons=[16, 12], batch_sizes=[5]))
    info = bundle.info()
    assert (info.action_dim, info.observation_dim, info.horizon, info.batch, info.variants) == (A, O, H, 3, 6)
    for horizon in (H, 12, 16):
        for batch in (3, 5):
            c = CPlanner(bundle, horizon=horizon, batch=batch)
            same(
                c.plan({0: np.zeros(O)}, number=2),
                made.plan({0: np.zeros(O)}, number=2, horizon=horizon, batch_size=batch),
            )
    for wrong in ({"batch": 4}, {"horizon": 20}):
        with pytest.raises(Refused, match="this bundle has none") as refused:
            CPlanner(bundle, **wrong)
        assert refused.value.status == UNSUPPORTED
    any_batch = Bundle(exported(tmp_path, planner(guided=False), horizons=[16]))
    c = CPlanner(any_batch, horizon=16, batch=7)
    same(c.plan({}, number=2), planner(guided=False).plan({}, number=2, horizon=16, batch_size=7))


def test_the_callers_floating_point_mode_changes_nothing(tmp_path):
    bundle = Bundle(exported(tmp_path))
    c = CPlanner(bundle)
    expected = [a.tobytes() for a in c.plan(conditions())[:3]]
    libm = ctypes.CDLL("libm.so.6")
    before = libm.fegetround()
    try:
        assert libm.fesetround(0x800) == 0  # upwards, on x86
        found = c.plan(conditions())[:3]
        assert libm.fegetround() == 0x800
    finally:
        libm.fesetround(before)
    assert [a.tobytes() for a in found] == expected
