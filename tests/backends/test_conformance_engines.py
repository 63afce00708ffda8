"""What every engine owes its caller beside the right numbers (backends/engine.py): one answer, whatever the company."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from diffuser_fast import backends
from diffuser_fast import conformance as c
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.core.conditions import Inpainting, no_inpainting
from diffuser_fast.core.loop import PlanTables, TimeTables, ranking
from diffuser_fast.core.noise import tape as drawn

CASES = {case.name: case for case in c.loop_cases()}
TARGETS = c.targets()
GUIDED = CASES["parts of observations"]
ON_EVERY_TARGET = pytest.mark.parametrize("target", TARGETS, ids=str)
ON_EVERY_ENGINE = pytest.mark.parametrize("target", [t for t in TARGETS if t.backend != "reference"], ids=str)


@cache
def implied_by_seed(name, noise, batch, arithmetic):
    return c.implied_by_plan(CASES[name].loop, CASES[name].inpainting, noise, batch=batch, arithmetic=arithmetic)


def plan(target, case, **overrides):
    return case.plan(target.ready(case.loop, case.batch), **overrides)


def within(found, implied, target):
    """Each of these fields of a result is within its bound."""
    for field in ("x", "values", "chain"):
        verdict = c.judge(getattr(found, field), getattr(implied, field), exactness=target.exactness)
        assert verdict.passed, f"{field}: {verdict}"


def to_the_bit(target):
    """Whether results do not depend on the batch. Other engines choose their algorithm by it."""
    return target.precision in backends.get(target.backend).INVARIANT


def of_sample(tables, n):
    """What sample n of a batch sees, as a batch of one."""

    def cut(one):
        per_step = one.per_step if one.per_step.shape[1] == 1 else one.per_step[:, n : n + 1]
        return TimeTables(per_step, None if one.per_sample is None else one.per_sample[n : n + 1])

    return None if tables is None else PlanTables(cut(tables.denoiser), tables.guide and cut(tables.guide))


@ON_EVERY_TARGET
@pytest.mark.parametrize(
    "name", ["halfcheetah", "each its own conditions", "tables of this plan", "tables of each trajectory",
             "tables added for each trajectory", "seventeen plans", "dpm_solver_pp_2m",
             "gradient added to x and to clipped x0", "value of odd lengths, H 20", "maze2d"],
)  # fmt: skip
def test_a_plan_does_not_depend_on_its_company(name, target):
    case = CASES[name]
    together, alone = plan(target, case), target.ready(case.loop, 1)
    for n in (0, case.batch - 1):
        own = case.inpainting.values if len(case.inpainting.values) == 1 else case.inpainting.values[n : n + 1]
        noise = np.ascontiguousarray(case.tape[:, n : n + 1])
        inpainting, tables = Inpainting(case.inpainting.mask, own), of_sample(case.tables, n)
        one = case.plan(alone, inpainting=inpainting, noise=noise, tables=tables, candidates=1)
        if to_the_bit(target):
            for field in ("x", "chain", "values"):
                np.testing.assert_array_equal(getattr(one, field)[0], getattr(together, field)[n])
        else:
            within(one, c.implied_by_plan(
                case.loop, inpainting, noise, tables=tables, arithmetic=target.arithmetic
            ), target)  # fmt: skip


@ON_EVERY_ENGINE
def test_equal_members_are_equal_and_keep_their_order(target):
    """(Torch need not treat equal members of a batch equally.)"""
    case = CASES["one guide step"]
    noise = np.repeat(case.tape[:, :1], case.batch, axis=1)
    noise[:, 2] = case.tape[:, 2]
    result = plan(target, case, noise=noise)
    others = [n for n in range(case.batch) if n != 2]
    for n in others:
        np.testing.assert_array_equal(result.x[n], result.x[0])
    assert [n for n in result.order if n != 2] == others


@ON_EVERY_TARGET
@pytest.mark.parametrize(
    "name", ["halfcheetah", "epsilon", "three guide steps", "tables of this plan", "ddim, eta 1, guided"]
)
def test_a_restart_goes_on_as_if_nothing_had_happened(name, target):
    case = CASES[name]
    engine = target.ready(case.loop, case.batch)
    whole = case.plan(engine)
    for k in {1, case.loop.rows // 2, case.loop.rows - 1}:
        rest = case.plan(engine, x=whole.chain[:, k], start=k)
        assert rest.chain.shape[1] == case.loop.rows - k + 1
        np.testing.assert_array_equal(rest.chain, whole.chain[:, k:])
        np.testing.assert_array_equal(rest.x, whole.x)
        np.testing.assert_array_equal(rest.values, whole.values)
        np.testing.assert_array_equal(rest.order, whole.order)


@ON_EVERY_TARGET
def test_a_restart_is_inpainted(target):
    case = CASES["parts of observations"]
    rest = plan(target, case, x=np.full_like(case.tape[0], 7), start=2)
    wanted = np.where(case.inpainting.mask, case.inpainting.values, np.float32(7))
    np.testing.assert_array_equal(rest.chain[:, 0], np.repeat(wanted, case.batch, axis=0))


@ON_EVERY_TARGET
def test_a_multistep_sampler_restarts_at_first_order(target):
    """At the first step that is run, previous_x0 is x0: d joins a. (Zero in its place would scale the whole update.)"""
    case = CASES["dpm_solver_pp_2m"]
    steps, k = case.loop.steps, 2
    assert steps.d[k]
    x = case.tape[0] * 0.5
    a, d = steps.a.copy(), steps.d.copy()
    a[k], d[k] = a[k] + d[k], 0.0
    first_order = replace(case.loop, steps=replace(steps, a=a, d=d))
    implied = c.implied_by_plan(first_order, case.inpainting, case.tape, x=x, start=k, arithmetic=target.arithmetic)
    within(plan(target, case, x=x, start=k), implied, target)


@ON_EVERY_TARGET
@pytest.mark.parametrize(
    "name", ["parts of observations", "each its own conditions", "everything is given", "an action is given"]
)
def test_what_is_given_holds_after_every_denoising_step(name, target):
    case = CASES[name]
    chain, mask = plan(target, case).chain, case.inpainting.mask
    given = np.broadcast_to(case.inpainting.values, (case.batch, *mask.shape))
    for k in range(case.loop.rows + 1):
        np.testing.assert_array_equal(chain[:, k][:, mask], given[:, mask])
    np.testing.assert_array_equal(chain[:, 0][:, ~mask], case.tape[0][:, ~mask])
    if not mask.all():
        assert (chain[:, 1:] != chain[:, :-1])[:, :, ~mask].all()


@ON_EVERY_TARGET
@pytest.mark.parametrize("name", ["situations with candidates", "ranked by value alone", "seventeen plans"])
def test_the_order_is_that_of_the_values(name, target):
    case = CASES[name]
    result = plan(target, case)
    candidates = case.candidates or case.batch
    np.testing.assert_array_equal(result.order, ranking(result.values, candidates))
    values, order = result.values.reshape(-1, candidates), result.order.reshape(-1, candidates)
    assert (np.diff(np.take_along_axis(values, order, axis=1)) < 0).all() and order.dtype == np.int64
    assert {len(set(group)) for group in order} == {candidates}


@ON_EVERY_TARGET
def test_without_a_guide_values_are_zero_and_samples_keep_their_order(target):
    case = CASES["each its own conditions"]
    result = plan(target, case)
    assert not result.values.any() and result.order.tolist() == list(range(case.batch))


@ON_EVERY_TARGET
def test_results_are_float32_contiguous_and_the_callers_own(target):
    engine, other = target.ready(GUIDED.loop, GUIDED.batch), GUIDED.seeded(1)
    first = GUIDED.plan(engine)
    copies = [getattr(first, field).copy() for field in ("x", "values", "order", "chain")]
    second, again = other.plan(engine), GUIDED.plan(engine)
    assert not np.array_equal(first.x, second.x)
    for field, copy in zip(("x", "values", "order", "chain"), copies, strict=True):
        array = getattr(first, field)
        assert array.flags.c_contiguous and array.flags.writeable
        assert array.dtype == (np.int64 if field == "order" else np.float32)
        np.testing.assert_array_equal(array, copy)  # later calls do not touch it
        np.testing.assert_array_equal(getattr(again, field), copy)  # and nothing is left over from them
    assert GUIDED.plan(engine, chain=False).chain is None
    np.testing.assert_array_equal(GUIDED.plan(engine, chain=False).x, first.x)


@ON_EVERY_TARGET
def test_arguments_are_only_read(target):
    case = CASES["tables added for each trajectory"]
    tables = [case.tables.denoiser.per_step, case.tables.denoiser.per_sample, case.tables.guide.per_step]
    arrays = [case.tape, case.inpainting.values, case.inpainting.mask, *tables]
    copies, x = [array.copy() for array in arrays], case.tape[1].copy()
    for array in (*arrays, x):
        array.setflags(write=False)
    engine = target.ready(case.loop, case.batch)
    case.plan(engine)
    case.plan(engine, x=x, start=1)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(x, case.tape[1])


@ON_EVERY_TARGET
def test_noise_may_lie_in_memory_in_any_way(target):
    backwards = np.ascontiguousarray(GUIDED.tape.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    np.testing.assert_array_equal(plan(target, GUIDED, noise=backwards).x, plan(target, GUIDED).x)


@ON_EVERY_TARGET
def test_tables_of_the_denoiser_alone_leave_the_guide_its_own(target):
    case = CASES["tables of this plan"]
    net, guide = case.tables.denoiser, case.tables.guide
    both = plan(target, case, tables=PlanTables(net, case.loop.guide.tables))
    np.testing.assert_array_equal(plan(target, case, tables=PlanTables(net)).x, both.x)
    own = plan(target, case, tables=PlanTables(case.loop.denoiser.tables, case.loop.guide.tables))
    np.testing.assert_array_equal(plan(target, case, tables=None).x, own.x)
    assert not np.array_equal(plan(target, case, tables=PlanTables(net, guide)).values, both.values)


@ON_EVERY_TARGET
def test_tables_in_whatever_form_are_the_same_numbers(target):
    """Shared, for each trajectory, or with a part added for each: the same numbers, so the same plans."""
    case = CASES["tables added for each trajectory"]
    added = case.tables

    def written_out(one):
        return TimeTables(np.stack([one.step(k) for k in range(len(one.per_step))]))

    each = PlanTables(written_out(added.denoiser), written_out(added.guide))
    assert each.denoiser.per_step.shape[1] == case.batch
    engine = target.ready(case.loop, case.batch)
    one, other = case.plan(engine), case.plan(engine, tables=each)
    for field in ("x", "values", "chain", "order"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    shared = PlanTables(
        *(
            TimeTables(np.repeat(network.tables.per_step, case.batch, axis=1))
            for network in (case.loop.denoiser, case.loop.guide)
        )
    )
    plain, repeated = case.plan(engine, tables=None), case.plan(engine, tables=shared)
    if target.backend == "reference":
        within(repeated, c.implied_by_plan(case.loop, case.inpainting, case.tape), target)
    else:
        np.testing.assert_array_equal(repeated.x, plain.x)
    assert not np.array_equal(one.x, plain.x)


@ON_EVERY_TARGET
@pytest.mark.parametrize("name", ["tables of each trajectory", "tables added for each trajectory"])
def test_a_trajectory_with_tables_of_its_own_is_the_plan_of_a_loop_that_has_them(name, target):
    """The plain loop: one trajectory, and its tables written into the networks."""
    case, n = CASES[name], 3
    together, tables = plan(target, case), case.tables
    own = [
        replace(
            network,
            tables=TimeTables(np.stack([one.step(k)[n % len(one.step(k))] for k in range(case.loop.rows)])[:, None]),
        )
        for network, one in ((case.loop.denoiser, tables.denoiser), (case.loop.guide, tables.guide))
    ]
    loop = replace(case.loop, denoiser=own[0], guide=own[1])
    noise = case.tape[:, n : n + 1]
    alone = case.plan(target.ready(loop, 1), noise=noise, tables=None, candidates=1)
    if to_the_bit(target):
        for field in ("x", "chain", "values"):
            np.testing.assert_array_equal(getattr(alone, field)[0], getattr(together, field)[n])
    within(alone, c.implied_by_plan(loop, case.inpainting, noise, arithmetic=target.arithmetic), target)
    whole = c.implied_by_plan(case.loop, case.inpainting, case.tape, tables=tables, arithmetic=target.arithmetic)
    within(together, whole, target)


@ON_EVERY_TARGET
def test_tables_that_do_not_fit_are_refused(target):
    case = CASES["tables of each trajectory"]
    engine, wrong = target.ready(case.loop, case.batch), case.tables.denoiser.per_step[:, :3]
    with pytest.raises(ValueError, match=r"tables: denoiser\.per_step: found shape"):
        case.plan(engine, tables=PlanTables(TimeTables(wrong)))
    with pytest.raises(ValueError, match=r"tables: guide\.per_sample: found shape"):
        added = TimeTables(case.loop.guide.tables.per_step, np.zeros((2, case.loop.guide.program.table_width)))
        case.plan(engine, tables=PlanTables(case.tables.denoiser, added))


@ON_EVERY_TARGET
@pytest.mark.parametrize("k", [0, 2, 4])
def test_a_number_that_is_not_finite_is_named_by_its_denoising_step(target, k):
    steps = GUIDED.loop.steps
    for name, bad in (("a", np.nan), ("b", np.inf), ("s", -np.inf)):
        column = getattr(steps, name).copy()
        column[k] = bad
        engine = target.ready(replace(GUIDED.loop, steps=replace(steps, **{name: column})), GUIDED.batch)
        with pytest.raises(FloatingPointError, match=rf"^denoising step {k} \(t = {steps.t[k]}\): the plan is no"):
            GUIDED.plan(engine)
    np.testing.assert_array_equal(plan(target, GUIDED).x, plan(target, GUIDED).x)


@ON_EVERY_TARGET
def test_clipping_does_not_hide_a_number_that_is_none(target):
    case = CASES["x0, clipped"]
    q = case.loop.steps.q.copy()
    q[1] = np.nan
    engine = target.ready(replace(case.loop, steps=replace(case.loop.steps, q=q)), case.batch)
    with pytest.raises(FloatingPointError, match=r"^denoising step 1 "):
        case.plan(engine)


@ON_EVERY_TARGET
def test_one_bad_member_is_enough_and_the_engine_recovers(target):
    engine = target.ready(GUIDED.loop, GUIDED.batch)
    before, noise = GUIDED.plan(engine), GUIDED.tape.copy()
    noise[2, -1, -1, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"^denoising step 1 "):
        GUIDED.plan(engine, noise=noise)
    np.testing.assert_array_equal(GUIDED.plan(engine).x, before.x)


# ------------------------------------------------------------------------------------------------------- noise


@ON_EVERY_TARGET
def test_a_sample_draws_the_same_noise_in_any_batch(target):
    case = CASES["one guide step"]
    few, many = (target.ready(case.loop, n)(case.inpainting, Seeded(5, 3), chain=True) for n in (1, 64))
    if to_the_bit(target):
        for field in ("chain", "values"):
            np.testing.assert_array_equal(getattr(few, field)[0], getattr(many, field)[0])
    else:
        within(few, implied_by_seed(case.name, Seeded(5, 3), 1, target.arithmetic), target)
        within(many, implied_by_seed(case.name, Seeded(5, 3), 64, target.arithmetic), target)
    assert len(np.unique(many.x[:, 1, 0])) == 64


@ON_EVERY_TARGET
def test_seeds_and_plans_draw_different_noise_and_the_same_again(target):
    engine = target.ready(GUIDED.loop, GUIDED.batch)
    addresses = [(seed, number) for seed in (0, 1, 2**63) for number in (0, 1, 2**31)]
    found = {address: GUIDED.plan(engine, noise=Seeded(*address)).chain[:, 0, 5] for address in addresses}
    again = GUIDED.plan(engine, noise=Seeded(1, 1)).chain[:, 0, 5]
    np.testing.assert_array_equal(again, found[1, 1])
    arrays = list(found.values())
    assert all(not np.array_equal(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


@ON_EVERY_TARGET
def test_drawn_noise_is_that_of_core_noise(target):
    """A loop whose steps are their own noise: x' = noise. Bound: four units in the last place, of one at least."""
    loop = CASES["hopper unguided"].loop
    zero, one = np.zeros(loop.rows), np.ones(loop.rows)
    loop = replace(loop, steps=replace(loop.steps, p=zero, q=zero, a=zero, b=zero, d=zero, s=one))
    for seed, number in ((0, 0), (2**64 - 1, 2**32 - 1), (12345, 7)):
        chain = target.ready(loop, 9)(no_inpainting(32, 14), Seeded(seed, number), chain=True).chain
        wanted = drawn(seed, number, loop.rows, 9, 32, 14).swapaxes(0, 1)
        error = np.abs(chain.astype(np.float64) - wanted) / np.spacing(np.maximum(np.abs(wanted), 1))
        assert error.max() <= 4
    assert abs(chain.mean()) < 0.02 and abs(chain.std() - 1) < 0.02


@ON_EVERY_ENGINE
@pytest.mark.parametrize(
    "name", ["halfcheetah", "parts of observations", "maze2d", "dpm_solver_pp_2m, clipped, guided"]
)
def test_a_seed_replays_on_every_backend(name, target):
    """Noise that differs in its last bits and engines that round differently: still one plan."""
    case, noise = CASES[name], Seeded(11, 2)
    within(plan(target, case, noise=noise), implied_by_seed(name, noise, case.batch, target.arithmetic), target)


# ----------------------------------------------------------------------------------------------------- threads


@ON_EVERY_ENGINE
@pytest.mark.parametrize(
    "name", ["halfcheetah", "seventeen plans", "maze2d", "situations with candidates", "hopper at full width"]
)
def test_the_number_of_threads_changes_nothing(name, target):
    case = CASES[name]
    one = plan(replace(target, threads=1), case)
    for threads in (2, 3, 5):
        more = plan(replace(target, threads=threads), case)
        for field in ("x", "chain", "values", "order"):
            np.testing.assert_array_equal(getattr(more, field), getattr(one, field))
