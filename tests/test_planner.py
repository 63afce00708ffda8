"""The public planner: what goes in, what comes out, and what is said when something is wrong."""

import concurrent.futures
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from bounds import agree, implied_plans, there_and_back, within

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.core.conditions import no_inpainting, parse_conditions
from diffuser_fast.core.noise import tape as drawn
from diffuser_fast.core.spec import UNetSpec, ValueSpec

BACKENDS = sorted({target.backend for target in c.targets()})
ON_EVERY_BACKEND = pytest.mark.parametrize("backend", BACKENDS)
H, A, O, T = 8, 2, 4, 6


@cache
def checkpoint(guided=True, normalizer="gaussian", clip=False):
    """Two levels, horizon 8, two actions, four observations, six training steps; values are of trained horizon 8."""
    spec = UNetSpec(H, A + O, dim=16, dim_mults=(1, 2))
    value = ValueSpec(H, A + O, dim=16, dim_mults=(1, 8)) if guided else None
    return c.random_checkpoint(
        spec, value, action_dim=A, n_train=T, guide=dfx.Guide(0.3, 2, 1), normalizer=normalizer, clip_denoised=clip
    )


def planner(backend="reference", guided=True, **options):
    options = {"batch_size": 3, "threads": 1, **options}
    return dfx.Planner(checkpoint(guided), backend, **options)


def obs(seed=0, *lead):
    return np.random.default_rng(seed).normal(0, 2, (*lead, O))


def tape(rows=T, *lead, horizon=H, seed=0):
    return np.random.default_rng(seed).normal(size=(rows + 1, *lead, horizon, A + O)).astype(np.float32)


def is_noise(found, noise, normalizers=None):
    """Of a chain: numbers in physical units, and the normalised ones that they are."""
    normalizers = normalizers or checkpoint().normalizers
    wanted = normalizers.unnormalize(noise)
    there_and_back(found[..., :A], wanted[..., :A], normalizers.actions)
    there_and_back(found[..., A:], wanted[..., A:], normalizers.observations)


def equal(found, expected):
    for field in ("actions", "observations", "values"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


# ------------------------------------------------------------------------------------------------- what comes out


@ON_EVERY_BACKEND
@pytest.mark.parametrize("guided", [False, True])
def test_plans_have_their_shapes_and_belong_to_the_caller(backend, guided):
    one = planner(backend, guided)
    plans = one.plan({0: obs()}, return_chain=True)
    assert plans.actions.shape == (3, H, A) and plans.observations.shape == (3, H, O)
    assert plans.values.shape == (3,) and plans.chain.shape == (3, T + 1, H, A + O)
    copies = [array.copy() for array in (plans.actions, plans.observations, plans.values, plans.chain)]
    for array in (plans.actions, plans.observations, plans.values, plans.chain):
        assert array.dtype == np.float32 and array.flags.c_contiguous and array.flags.writeable
    again = one.plan({0: obs()}, return_chain=True)
    for array, copy, other in zip(
        (plans.actions, plans.observations, plans.values, plans.chain), copies,
        (again.actions, again.observations, again.values, again.chain), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(array, copy)
        assert not np.shares_memory(array, other)
    assert one.plan({0: obs()}).chain is None
    with pytest.raises(AttributeError):  # a record
        plans.values = None


@ON_EVERY_BACKEND
def test_plans_come_best_first_and_in_physical_units(backend):
    noise, given = tape(T, 3), obs()
    plans = planner(backend).plan({0: given}, noise=noise, return_chain=True)
    assert (np.diff(plans.values) < 0).all()
    normalizers = checkpoint().normalizers
    there_and_back(plans.observations[:, 0], given, normalizers.observations)
    # The chain is in plan order, from the first noise to the plan.
    np.testing.assert_array_equal(plans.chain[:, -1], np.concatenate((plans.actions, plans.observations), axis=-1))
    first = normalizers.normalize(plans.chain[:, 0])[:, 1:]
    order = [int(np.abs(noise[0, :, 1:] - plan).max(axis=(1, 2)).argmin()) for plan in first]
    assert sorted(order) == [0, 1, 2] and order != [0, 1, 2]
    is_noise(plans.chain[:, 0, 1:], noise[0, order, 1:])
    there_and_back(plans.chain[:, :, 0, A:], given, normalizers.observations)


@ON_EVERY_BACKEND
def test_without_values_plans_keep_the_order_of_samples(backend):
    for options in ({"guide": None}, {"guided": False}):
        one = planner(backend, **options)
        plans = one.plan({0: obs()}, noise=tape(T, 3), return_chain=True)
        assert plans.values.tolist() == [0, 0, 0]
        is_noise(plans.chain[:, 0, 1:], tape(T, 3)[0, :, 1:], one.checkpoint.normalizers)


@pytest.mark.skipif("cpu" not in BACKENDS, reason="torch need not treat equal members of a batch equally")
def test_equal_values_keep_the_order_of_samples():
    noise = np.repeat(tape(T, 1), 4, axis=1)
    noise[:, 2] = tape(T, 1, seed=1)[:, 0]
    noise[-1, :, 0, 0] = [1, 2, 3, 4]  # not used, and so no difference
    one = planner("cpu", batch_size=4)
    result = one._engine(4, H)(no_inpainting(H, A + O), noise)
    best = int(result.values[2] > result.values[0])
    assert result.order.tolist() == ([2, 0, 1, 3] if best else [0, 1, 3, 2])
    plans = one.plan({}, noise=noise)
    np.testing.assert_array_equal(plans.values, result.values[result.order])


def test_the_batch_is_64_guided_and_1_otherwise():
    sizes = {
        (True, "auto"): 64, (True, None): 1, (True, dfx.Guide(n_steps=0)): 64, (False, "auto"): 1, (False, None): 1,
    }  # fmt: skip
    for (guided, guide), expected in sizes.items():
        one = planner(BACKENDS[0], guided, guide=guide, batch_size=None)
        assert one.batch_size == expected
        assert len(one.plan({0: obs()}).actions) == expected
    one = planner(batch_size=2)
    assert len(one.plan({0: obs()}, batch_size=5).actions) == 5 and len(one.plan({0: obs()}).actions) == 2


def test_latency_is_the_wall_time_of_the_call(monkeypatch):
    clock = iter([10.0, 10.25])
    one = planner()
    monkeypatch.setattr("diffuser_fast.planner.planner.time.perf_counter", lambda: next(clock))
    assert one.plan({}).latency_ms == 250


def test_exactness_is_named():
    assert planner().plan({}).exactness == "exact"
    assert planner(precision="float64").plan({}).exactness == "exact"
    assert planner(n_steps=T).plan({}).exactness == "exact"  # all of them
    for options in (
        {"n_steps": 3},
        {"sampler": "ddim"},
        {"sampler": "dpm_solver_pp_2m"},
        {"sampler": "ddim", "eta": 1.0},
    ):
        assert planner(**options).plan({}).exactness == "approximate"


def test_samplers_and_rows():
    for sampler in ("ddpm", "ddim", "dpm_solver_pp_2m"):
        plans = planner(sampler=sampler, n_steps=3).plan({0: obs()}, noise=tape(3, 3), return_chain=True)
        assert plans.chain.shape[1] == 4
    noisy = tape(3, 3)
    noisy[1:] = 0
    found, other = (planner(sampler="ddim", n_steps=3, eta=eta) for eta in (0.0, 1.0))
    equal(
        found.plan({0: obs()}, noise=tape(3, 3)), found.plan({0: obs()}, noise=noisy)
    )  # deterministic but for the first
    assert not np.array_equal(other.plan({}, noise=tape(3, 3)).values, other.plan({}, noise=noisy).values)


# -------------------------------------------------------------------------------------------------------- noise


@ON_EVERY_BACKEND
def test_a_tape_is_the_noise_and_does_not_count_as_a_call(backend):
    one, noise = planner(backend), tape(T, 3)
    first = one.plan({0: obs()}, noise=noise)
    equal(one.plan({0: obs()}, noise=noise.astype(np.float64).tolist()), first)
    drawn_then = one.plan({0: obs()})
    equal(planner(backend).plan({0: obs()}), drawn_then)
    noise[-1] = 1e9  # the last one is drawn and multiplied by zero
    equal(one.plan({0: obs()}, noise=noise), first)


@ON_EVERY_BACKEND
def test_call_n_draws_plan_n_of_the_seed(backend):
    one = planner(backend, seed=5)
    plans = [one.plan({0: obs()}) for _ in range(3)]
    for n, found in enumerate(plans):
        from_tape = planner(backend).plan({0: obs()}, noise=drawn(5, n, T, 3, H, A + O))
        agree(implied_plans(planner(), {0: obs()}, Seeded(5, n), batch=3), found, from_tape)
    assert not np.array_equal(plans[0].actions, plans[1].actions)
    one.reset()
    equal(one.plan({0: obs()}), plans[0])
    one.reset(seed=6)
    other = one.plan({0: obs()})
    assert not np.array_equal(other.actions, plans[0].actions)
    equal(planner(backend, seed=6).plan({0: obs()}), other)
    one.reset()
    equal(one.plan({0: obs()}), other)  # the seed there was
    one.reset(5)
    equal(one.plan({0: obs()}), plans[0])
    one.act(obs())
    equal(one.plan({0: obs()}), plans[2])  # an action is a call too
    assert one.number == 3
    one.reset(number=1)
    equal(one.plan({0: obs()}), plans[1])
    with pytest.raises(ValueError, match="number: found -1"):
        one.reset(number=-1)


# --------------------------------------------------------------------------------------------------- conditions


@ON_EVERY_BACKEND
def test_conditions_hold_in_the_plan(backend):
    first, last = obs(1), obs(2)
    plans = planner(backend).plan({0: first, -1: last, 3.0: {1: 0.5, 3: -0.25}})
    observations = checkpoint().normalizers.observations
    there_and_back(plans.observations[:, 0], first, observations)
    there_and_back(plans.observations[:, -1], last, observations)
    there_and_back(plans.observations[:, 3, [1, 3]], [0.5, -0.25], observations, [1, 3])
    assert np.ptp(plans.observations[:, 3, [0, 2]], axis=0).min() > 1e-4
    assert np.ptp(plans.actions, axis=0).min() > 1e-5  # actions stay free
    equal(
        planner(backend).plan({-1: last}, noise=tape(T, 3)), planner(backend).plan({H - 1: last}, noise=tape(T, 3))
    )  # key 0 is not required
    assert planner(backend).plan({}).actions.shape == (3, H, A)


@ON_EVERY_BACKEND
@pytest.mark.parametrize("warm", [False, True])
def test_situations_are_planned_as_if_each_were_alone(backend, warm):
    """[E, O] conditions: candidate b of situation e has the noise of sample b of plan number e."""
    several = planner(backend, warm_start=2 if warm else None)
    given, goal = obs(3, 4), {1: obs(4, 4)[:, 0]}
    noise = tape(T, 4, 3)
    at_once = several.plan({0: given, 5: goal, -1: obs(9)}, noise=noise, return_chain=True)
    assert at_once.actions.shape == (4, 3, H, A) and at_once.values.shape == (4, 3)
    assert at_once.observations.shape == (4, 3, H, O) and at_once.chain.shape == (4, 3, T + 1, H, A + O)
    assert at_once.actions.flags.c_contiguous and at_once.values.flags.c_contiguous
    for e in range(4):
        conditions = {0: given[e], 5: {1: goal[1][e]}, -1: obs(9)}
        one = planner(backend).plan(conditions, noise=noise[:, e], return_chain=True)
        fields = ("actions", "observations", "values", "chain")
        his = SimpleNamespace(**{field: getattr(at_once, field)[e] for field in fields})
        agree(implied_plans(planner(), conditions, noise[:, e]), one, his)
    assert (np.diff(at_once.values, axis=1) < 0).all()
    several.reset()
    seeded = several.plan({0: given})
    address = drawn(0, 0, T, 12, H, A + O, candidates=3).reshape(T + 1, 4, 3, H, A + O)
    from_tape = several.plan({0: given}, noise=address)
    for e in range(4):
        implied = implied_plans(planner(), {0: given[e]}, address[:, e], engine_draws=True)
        for plans in (seeded, from_tape):
            within(plans.values[e], implied["values"])


def test_one_situation_is_still_a_situation():
    plans = planner().plan({0: obs(0, 1)}, noise=tape(T, 1, 3))
    assert plans.actions.shape == (1, 3, H, A) and plans.values.shape == (1, 3)
    np.testing.assert_array_equal(
        plans.actions[0], planner().plan({0: obs(0, 1)[0]}, noise=tape(T, 1, 3)[:, 0]).actions
    )
    with pytest.raises(ValueError, match=r"expected a tape of shape \[7, 2, 3, 8, 6\], found \[7, 3, 8, 6\]"):
        planner().plan({0: obs(0, 2)}, noise=tape(T, 3))


# ------------------------------------------------------------------------------------------------------ horizons


@ON_EVERY_BACKEND
def test_another_horizon_unguided(backend):
    for options, call in (({"horizon": 14}, {}), ({}, {"horizon": 14})):
        one = planner(backend, guide=None, **options)
        plans = one.plan({0: obs(), -1: obs(1)}, noise=tape(T, 3, horizon=14), **call)
        assert plans.actions.shape == (3, 14, A)
        there_and_back(plans.observations[:, 13], obs(1), checkpoint().normalizers.observations)
    assert one.horizon == H and one.plan({0: obs()}).actions.shape == (3, H, A)


# --------------------------------------------------------------------------------------------------------- guides


@ON_EVERY_BACKEND
def test_forms_of_a_guide(backend):
    noise = tape(T, 3)

    def plan(**options):
        return planner(backend, **options).plan({0: obs()}, noise=noise)

    auto, none, ranked = plan(), plan(guide=None), plan(guide=dfx.Guide(n_steps=0))
    equal(plan(guide=checkpoint().guide), auto)
    assert not none.values.any()
    # Ranked by value: the unguided plans in another order, each with the value of its last denoising step's input.
    order = [int(np.abs(none.actions - plan).max(axis=(1, 2)).argmin()) for plan in ranked.actions]
    assert sorted(order) == [0, 1, 2]
    for plans, guide in ((none, None), (ranked, dfx.Guide(n_steps=0))):
        agree(implied_plans(planner(guide=guide), {0: obs()}, noise), plans)
    assert (np.diff(ranked.values) < 0).all()
    assert np.abs(auto.actions - none.actions).max() > 1e-3
    assert plan(guide=dfx.Guide(5.0, 2, 0)).values.mean() > auto.values.mean() > ranked.values.mean()
    assert planner(backend, guided=False, guide="auto").plan({}).values.tolist() == [0, 0, 0]


# --------------------------------------------------------------------------------------------- acting, warm starts


@ON_EVERY_BACKEND
def test_act_is_the_first_action_of_the_best_plan(backend):
    one, other = planner(backend), planner(backend)
    for n in range(2):
        action = one.act(obs(n), {-1: obs(5)})
        assert action.shape == (A,) and action.dtype == np.float32 and action.flags.owndata
        np.testing.assert_array_equal(action, other.plan({0: obs(n), -1: obs(5)}).actions[0, 0])
    np.testing.assert_array_equal(one.act(obs().tolist()), other.plan({0: obs()}).actions[0, 0])


@ON_EVERY_BACKEND
def test_a_warm_start_denoises_the_last_plan_moved_on_by_one_step(backend):
    """Written out: the best plan, shifted, noised to the entry of step R - k, and the last k steps from there."""
    k, warm = 2, planner(backend, warm_start=2, seed=3)
    given = [obs(n) for n in range(3)]
    cold = planner(backend, seed=3)
    first = cold.plan({0: given[0]})
    np.testing.assert_array_equal(warm.act(given[0]), first.actions[0, 0])  # there is no last plan yet
    steps, normalizers, engine = warm._loop(H).steps, checkpoint().normalizers, cold._engine(3, H)
    again = engine(parse_conditions({0: given[0]}, H, normalizers)[0], Seeded(3, 0))
    best = again.x[again.order[0]]
    ahead = np.repeat(np.concatenate((best[1:], best[-1:]))[None], 3, axis=0)
    drawn_there = engine.first_noise(Seeded(3, 1), 3) if backend == "cpu" else drawn(3, 1, T, 3, H, A + O)[0]
    noise = np.asarray(drawn_there, np.float64)
    x = steps.sqrt_abar[T - k] * ahead.astype(np.float64) + steps.sqrt_one_minus_abar[T - k] * noise
    wanted = engine(
        parse_conditions({0: given[1]}, H, normalizers)[0], Seeded(3, 1), x=x.astype(np.float32), start=T - k
    )  # fmt: skip
    plan = wanted.x[wanted.order[0]]
    np.testing.assert_array_equal(warm.act(given[1]), normalizers.actions.unnormalize(plan[0, :A]).astype(np.float32))
    # And after a reset it is cold again.
    warm.reset()
    np.testing.assert_array_equal(warm.act(given[0]), first.actions[0, 0])


@ON_EVERY_BACKEND
def test_plan_may_be_warm_too(backend):
    one, other = (planner(backend, warm_start=3) for _ in range(2))
    one.plan({0: obs()})
    found = one.plan({0: obs(1)}, warm=True, return_chain=True)
    assert found.chain.shape == (3, 4, H, A + O)  # from the entry of denoising step R - 3
    other.act(obs())
    np.testing.assert_array_equal(other.act(obs(1)), found.actions[0, 0])
    everything = planner(backend, warm_start=T)
    everything.plan({0: obs()})
    assert everything.plan({0: obs(1)}, warm=True, return_chain=True).chain.shape[1] == T + 1
    situations = planner(backend, warm_start=2)
    situations.plan({0: obs(0, 2)})
    assert situations.plan({0: obs(1, 2)}, warm=True).actions.shape == (2, 3, H, A)
    with pytest.raises(ValueError, match="warm: the last plan was for 2 situations, this one is for 1"):
        situations.plan({0: obs()}, warm=True)


# ----------------------------------------------------------------------------------------------------------- others


def test_a_limits_normaliser_clips_plan_by_plan_or_the_array():
    limits = checkpoint(normalizer="limits").normalizers
    x_n = np.random.default_rng(0).uniform(-1, 1, (3, H, A + O)).astype(np.float32)
    x_n[0, 0] = 1.5
    x_n[1, 1] = 1.00005  # within the tolerance: stays outside, unless another plan makes everything be clipped
    for scope, clipped in (("plan", False), ("array", True)):
        one = dfx.Planner(checkpoint(normalizer="limits"), "reference", clip_scope=scope)
        actions, observations = one._physical(x_n)
        np.testing.assert_array_equal(actions[0, 0], limits.actions.maxs.astype(np.float32))
        beyond = observations[1, 1] - limits.observations.maxs.astype(np.float32)
        assert (beyond == 0).all() if clipped else (beyond > 1e-5).all()


@ON_EVERY_BACKEND
def test_planners_run_side_by_side(backend):
    """Each in its own thread, each with its own seed and conditions: the same plans as one after the other."""

    def work(seed):
        one = planner(backend, seed=seed)
        return [one.plan({0: obs(seed)}) for _ in range(3)]

    alone = [work(seed) for seed in range(3)]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        beside = list(pool.map(work, range(3)))
    for found, expected in zip(beside, alone, strict=True):
        for a, b in zip(found, expected, strict=True):
            equal(a, b)


@pytest.mark.skipif("cpu" not in BACKENDS, reason="the C++ engine cannot run here")
def test_planning_natively_on_the_cpu_engine_never_imports_torch(tmp_path):
    from diffuser_fast.formats import save

    path = save(checkpoint(), tmp_path / "checkpoint.safetensors")
    script = (
        "import sys, diffuser_fast as dfx\n"
        f"planner = dfx.Planner(dfx.load({str(path)!r}), batch_size=2, threads=1)\n"
        "planner.plan({0: [0.0, 0.0, 0.0, 0.0]}); planner.act([0.0, 0.0, 0.0, 0.0])\n"
        "assert planner.backend == 'cpu', planner.backend\n"
        "print([name for name in ('torch', 'mujoco', 'h5py', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_environment_names_what_auto_stands_for(monkeypatch):
    from diffuser_fast.planner import planner as module
    from diffuser_fast.settings import Settings

    monkeypatch.setattr(module, "SETTINGS", Settings(backend="reference", threads=1))
    assert planner("auto", threads=None).backend == "reference"
    monkeypatch.setattr(module, "SETTINGS", Settings(backend="nonsense"))
    with pytest.raises(ValueError, match="backend: found 'nonsense'"):
        planner("auto")
    assert planner("reference").backend == "reference"  # who names one gets it


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_budget_is_spent_and_told(backend):
    """From more than enough to nothing: fewer rows each time, a finished plan always, and again to the bit."""
    one, rows = planner(backend=backend), []
    one.calibrate()
    for budget in (1e6, 0.0):
        plans = one.plan({}, budget_ms=budget, min_rows=2)
        rows.append(len(plans.rows))
        assert plans.deadline_met == (plans.latency_ms <= budget)
        assert plans.exactness == ("exact" if plans.finish == "full" else "approximate")
        again = one.plan({}, replay=plans.replay)
        assert again.finish == plans.finish and (again.rows == plans.rows).all()
        assert (again.observations == plans.observations).all() and (again.values == plans.values).all()
    assert rows[0] == T and rows[1] <= 2
    assert plans.finish == ("strided" if backend == "reference" else "finishing")


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_budget_for_a_warm_start(backend):
    """Enough of it: the bits of a warm start without one. None: the last plan, moved on, under the new conditions."""
    one, other = (planner(backend, warm_start=4) for _ in range(2))
    for made in (one, other):
        made.calibrate()
        made.plan({0: obs()})
    plenty = one.plan({0: obs(1)}, warm=True, budget_ms=1e6)
    assert (plenty.observations == other.plan({0: obs(1)}, warm=True).observations).all()
    assert plenty.finish == "full" and plenty.exactness == "approximate" and plenty.denoising_steps == 4
    nothing = one.plan({0: obs(2)}, warm=True, shift=3, budget_ms=0.0)
    assert nothing.finish == "shifted" and nothing.exactness == "approximate" and nothing.deadline_met is False
    assert nothing.denoising_steps == len(nothing.rows) == 0 and not nothing.values.any()
    for b in range(3):
        np.testing.assert_array_equal(nothing.actions[b, :-3], plenty.actions[0, 3:])
        np.testing.assert_array_equal(nothing.observations[b, 1:-3], plenty.observations[0, 4:])
    np.testing.assert_allclose(nothing.observations[:, 0], np.tile(obs(2), (3, 1)), atol=1e-5)
    again = one.plan({0: obs(2)}, replay=nothing.replay)
    assert (again.observations == nothing.observations).all() and again.finish == "shifted"
    assert one.plan({}, budget_ms=0.0).finish != "shifted"  # from noise there is none to move on


def test_replays_of_plans_without_a_budget():
    one = planner(warm_start=2)
    for warm in (False, True, True):
        plans = one.plan({}, warm=warm, shift=2)
        again = one.plan({}, replay=plans.replay)
        assert (again.observations == plans.observations).all()
        one._last = plans.replay.last if plans.replay.last is not None else one._last


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget_ms": -1}, "budget_ms: found -1"),
        ({"budget_ms": "soon"}, "budget_ms: found 'soon'"),
        ({"budget_ms": 1, "min_rows": 0}, "min_rows: found 0"),
        ({"budget_ms": 1, "return_chain": True}, "return_chain: not with budget_ms"),
        ({"budget_ms": 1, "noise": []}, "noise: a tape is for all denoising steps"),
        ({"shift": -1}, "shift: found -1"),
    ],
)
def test_wrong_budgets(options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        planner().plan({}, **options)


def test_a_replay_stands_alone():
    one = planner()
    replay = one.plan({}).replay
    with pytest.raises(ValueError, match="replay: it says"):
        one.plan({}, replay=replay, budget_ms=1)
    with pytest.raises(TypeError, match="replay: expected"):
        one.plan({}, replay=3)
