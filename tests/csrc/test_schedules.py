"""Plans that bring their own rows: the same bits as those rows by themselves, and decisions by a scripted clock."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from csrc.engines import needs_engine
from diffuser_fast.backends import cpu, reference
from diffuser_fast.backends.engine import Deadline, Schedule, Seeded
from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.core.conditions import no_inpainting
from diffuser_fast.core.guidance import Guide, guided
from diffuser_fast.core.loop import menu_loop, sampling_loop
from diffuser_fast.core.menu import menu
from diffuser_fast.core.samplers import ddim_path, ddpm
from diffuser_fast.core.spec import UNetSpec, ValueSpec

pytestmark = needs_engine
SIZES = {"horizon": 12, "transition_dim": 7, "dim": 8, "dim_mults": (1, 2), "groups": 4}
COST = 1000  # nanoseconds of a row without guide steps; each of those costs as much again


def made(guide=True, prediction="x0", n_train=12):
    """A loop with its menu, whose guide has two steps."""
    given = Guide(0.5, 2, 1) if guide else None
    checkpoint = random_checkpoint(
        UNetSpec(**SIZES), ValueSpec(**SIZES) if guide else None, action_dim=2, n_train=n_train, prediction=prediction,
        clip_denoised=True, guide=given,
    )  # fmt: skip
    own = ddpm(checkpoint.schedule, prediction=prediction)
    loop = sampling_loop(checkpoint, own, guide=given)

    def path(t):
        rows = ddim_path(checkpoint.schedule, t, prediction=prediction)
        return guided(rows, given) if guide else rows

    found = menu(
        loop.steps, path, epsilon=prediction == "epsilon", abar=checkpoint.schedule.alphas_cumprod,
        guide_steps=2 if guide else 0,
    )  # fmt: skip
    return loop, menu_loop(checkpoint, loop, found), found


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip((a.x, a.values, a.order), (b.x, b.values, b.order), strict=True))


def costs(steps):
    return (COST * (1 + steps.guide_steps)).astype(np.int64)


def rows_alone(whole, rows):
    """A loop that has these rows of another and nothing else."""
    loop = replace(whole, steps=whole.steps.only(rows.tolist()), table_steps=whole.table_steps[rows])
    if loop.table_count == whole.table_count:
        return loop
    nets = {name: getattr(loop, name) for name in ("denoiser", "guide")}
    seen = slice(loop.table_count)  # no row looks at the other steps of the tables
    return replace(loop, **{n: replace(net, tables=net.tables.steps(seen)) for n, net in nets.items()})


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
def test_choices_are_loops_of_their_own(prediction, threads):
    """All rows give the loop's own bits; every other choice is what a loop of those rows alone gives."""
    loop, whole, found = made(prediction=prediction)
    inpainting, noise = no_inpainting(12, 7), Seeded(3, 5)
    engine = cpu.ready(whole, batch=2, threads=threads)
    truth = cpu.ready(loop, batch=2, threads=1)(inpainting, noise)
    assert same(engine(inpainting, noise, schedule=Schedule(found.choices[0].rows)), truth)
    for choice in found.choices[1:]:
        scheduled = engine(inpainting, noise, schedule=Schedule(choice.rows))
        alone = cpu.ready(rows_alone(whole, choice.rows), batch=2, threads=1)
        assert same(scheduled, alone(inpainting, noise)), choice
        assert scheduled.rows[0].tolist() == choice.rows.tolist()


def test_the_reference_runs_the_same_rows():
    """As a loop that has them alone, to the bit: how near the C++ engine is to that, conformance says."""
    _, whole, found = made()
    inpainting, noise = no_inpainting(12, 7), Seeded(3, 5)
    ready = partial(reference.ready, batch=2, precision="float64")
    for choice in found.choices:
        scheduled = ready(whole)(inpainting, noise, schedule=Schedule(choice.rows))
        assert same(scheduled, ready(rows_alone(whole, choice.rows))(inpainting, noise))
        assert scheduled.rows.tolist() == [choice.rows.tolist()]


def decisions(found, begun, budget, late):
    """What the engine should run, told in Python: rows take their cost, times ``late`` of it from the third on."""
    cost, now, rows, i = costs(found.steps), 0, list(begun), 0
    times = []
    while i < len(rows):
        times.append(now)
        left = budget - now
        if cost[rows[i:]].sum() > left:
            k = rows[i]
            paths = [
                found.path_rows[found.path_at[p] : found.path_at[p + 1]].tolist()
                for p in range(found.first_path[k], found.first_path[k + 1])
            ]
            for n, path in enumerate(paths):
                if len(path) <= len(rows) - i and (cost[path].sum() <= left or n == len(paths) - 1):
                    rows[i:] = path
                    break
        now += int(cost[rows[i]] * (late if i >= 2 else 1))
        i += 1
    return rows, times, now


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("guide", [True, False])
@pytest.mark.parametrize("late", [1.0, 1.5, 4.0])
def test_a_deadline_is_kept_by_a_scripted_clock(guide, threads, late):
    """At budgets of 10 to 120 %: the decisions are those told in Python, no plan is later than its last row, and the
    rows that were run give the same bits when they are asked for."""
    _, whole, found = made(guide)
    inpainting, noise, cost = no_inpainting(12, 7), Seeded(1, 2), costs(found.steps)
    engine, alone = (cpu.ready(whole, batch=1, threads=n) for n in (threads, 1))
    full = found.choices[0].rows
    for percent in range(10, 121, 10):
        budget = int(cost[full].sum() * percent / 100)
        rows, times, end = decisions(found, full, budget, late)
        deadline = Deadline(budget, cost, cost, found, np.array(times))
        result = engine(inpainting, noise, schedule=Schedule(full, deadline))
        ran = result.rows[0][result.rows[0] >= 0].tolist()
        assert ran == rows, percent
        assert found.terminal[ran[-1]] and not found.terminal[ran[:-1]].any()
        # A late step makes itself and the finishing one late at the most; else a plan is over by less than a step.
        assert end <= budget + (1 + 2 * (late - 1)) * cost.max()
        assert same(alone(inpainting, noise, schedule=Schedule(result.rows)), result)
        assert np.isfinite(result.x).all() and (not guide or result.values.any())


def test_groups_have_their_part_of_the_time():
    """Four groups one after another on one thread: each gets a quarter, and says what it ran."""
    _, whole, found = made()
    inpainting, noise, cost = no_inpainting(12, 7), Seeded(1, 2), costs(found.steps)
    engine = cpu.CpuEngine(whole, 4, group=1)
    assert engine.groups == 4
    rows = found.choices[0].rows
    deadline = Deadline(4 * COST * 8, cost, cost, found, np.zeros(1, np.int64))  # the clock stands still
    result = engine(inpainting, noise, schedule=Schedule(rows, deadline), candidates=4)
    lengths = [(group >= 0).sum() for group in result.rows]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]  # the later ones have more time left each
    assert same(engine(inpainting, noise, schedule=Schedule(result.rows), candidates=4), result)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": np.array([[0, 99]])}, "not one of the loop's"),
        ({"rows": np.array([[-1, 0]])}, "not one of the loop's"),
        ({"rows": np.zeros((3, 2))}, "one for each group"),
        ({"cost": np.array([-1])}, "negative"),
        ({"path_rows": np.array([99])}, "path_rows"),
        ({"path_at": np.array([0, 0])}, "path_at"),
        ({"first_path": np.array([1])}, "paths do not begin at 0"),
    ],
)
def test_a_wrong_schedule_is_refused(change, said):
    _, whole, found = made(guide=False)
    engine, cost = cpu.ready(whole, batch=1), costs(found.steps)

    def broken(name, array):
        if name not in change:
            return array
        new = array.copy()
        new[: len(change[name])] = change[name]
        return new

    tampered = replace(
        found, **{name: broken(name, getattr(found, name)) for name in ("first_path", "path_at", "path_rows")}
    )
    rows = change.get("rows", found.choices[0].rows)
    deadline = Deadline(10**18, broken("cost", cost), cost, tampered)
    with pytest.raises(ValueError, match=said):
        engine(no_inpainting(12, 7), Seeded(0, 0), schedule=Schedule(rows, deadline))


def test_noise_that_is_skipped():
    """A plan from the middle on, by rows of its own: the bits of the loop from there; entry 0 is told by the engine."""
    loop, whole, _found = made()
    inpainting, noise = no_inpainting(12, 7), Seeded(3, 5)
    engine, own = (cpu.ready(one, batch=4, threads=1) for one in (whole, loop))
    x = own.first_noise(noise, 2)
    assert np.array_equal(own(inpainting, noise, candidates=2, chain=True).chain[:, 0], x)
    expected = own(inpainting, noise, x=x, start=5, candidates=2)
    rows = np.arange(5, loop.rows)
    assert same(engine(inpainting, noise, x=x, schedule=Schedule(rows, skipped=5), candidates=2), expected)
    assert not same(engine(inpainting, noise, x=x, schedule=Schedule(rows), candidates=2), expected)
    with pytest.raises(ValueError, match="skipped: negative"):
        engine(inpainting, noise, x=x, schedule=Schedule(rows, skipped=-1), candidates=2)


def test_a_schedule_begins_at_its_own_beginning():
    _, whole, found = made(guide=False)
    run = partial(cpu.ready(whole, batch=1), no_inpainting(12, 7), Seeded(0, 0))
    with pytest.raises(ValueError, match="start: must be 0"):
        run(start=1, x=np.zeros((1, 12, 7), np.float32), schedule=Schedule(found.choices[1].rows))
