"""workloads.toml says what it should, and every name in it can be made into a problem."""

import numpy as np
import pytest

from bench.problem import FAR, problem
from bench.workloads import KINDS, Workload, ladder
from diffuser_fast.core.lower import lower
from diffuser_fast.core.spec import UNetSpec, ValueSpec

# Per trajectory and evaluation, in millions of multiply-adds (the original's networks).
MACS = {
    "hopper": 19.6, "walker2d": 19.7, "halfcheetah": 4.74, "maze2d-umaze": 129, "maze2d-medium": 257,
    "maze2d-large": 386,
}  # fmt: skip


def test_names_are_unique_and_found_again():
    names = [w.name for w in ladder().workloads]
    assert len(set(names)) == len(names) > 60
    assert [ladder().find(name) for name in names] == list(ladder().workloads)


def test_every_kind_and_batch_is_on_the_ladder():
    for network in ("hopper", "walker2d", "halfcheetah"):
        for kind in KINDS:
            assert {w.batch for w in ladder().workloads if (w.network.name, w.kind) == (network, kind)} == {
                1, 4, 16, 64, 256,
            }  # fmt: skip
    for network in ("maze2d-umaze", "maze2d-medium", "maze2d-large"):
        assert {w.kind for w in ladder().workloads if w.network.name == network} == {"step", "plan"}


def test_lists_name_workloads_that_exist():
    said = ladder()
    for name in (*said.summary, *said.quick, *said.layers, *said.memory, *said.tails["workloads"]):
        assert said.find(name).name == name
    assert set(said.quick_compiled) <= set(said.quick)


def test_select():
    said = ladder()
    assert [w.name for w in said.select(names=said.quick)] == list(said.quick)
    assert {w.network.name for w in said.select(["walker2d"])} == {"walker2d"}
    assert [w.name for w in said.select(["hopper/*/b64"])] == [f"hopper/{kind}/b64" for kind in KINDS]
    assert [w.name for w in said.select(["hopper/step/b3"], names=())] == ["hopper/step/b3"]
    assert [w.name for w in said.select(["hopper/step/b3"])] == ["hopper/step/b3"]  # not on the ladder
    assert [w.name for w in said.select(["hopper/step/b1"])] == ["hopper/step/b1"]


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("nonsense", "nothing matches"),
        ("kitchen/step/b1", "no network 'kitchen'"),
        ("hopper/walk/b1", "kind 'walk'"),
        ("maze2d-umaze/guided/b1", "has no guide"),
        ("hopper/step/b0", "not positive"),
        ("hopper@x/step/b1", "no network 'hopper@x'"),
    ],
)
def test_wrong_names_are_refused(pattern, complaint):
    with pytest.raises(ValueError, match=complaint):
        ladder().select([pattern])


@pytest.mark.parametrize("name", MACS)
def test_networks_have_the_original_sizes(name):
    shape = ladder().networks[name]
    spec = UNetSpec(shape.horizon, shape.transition_dim, dim_mults=shape.dim_mults, attention=shape.attention)
    assert lower(spec).net.flops / 2e6 == pytest.approx(MACS[name], rel=0.02)
    if shape.guide:
        lower(ValueSpec(shape.horizon, shape.transition_dim, dim_mults=shape.dim_mults))


def test_another_horizon_has_no_guide():
    longer = ladder().find("hopper@64/step/b1")
    assert (longer.network.horizon, longer.network.guide) == (64, None)
    with pytest.raises(ValueError, match="no guide"):
        Workload(longer.network, "gradient", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_problems_repeat(kind):
    made = [problem(ladder().find(f"tiny/{kind}/b2")) for _ in range(2)]
    np.testing.assert_array_equal(made[0].tape, made[1].tape)
    assert made[0].tape.dtype == np.float32
    assert made[0].flops == made[1].flops > 0
    if kind in ("step", "gradient"):
        np.testing.assert_array_equal(made[0].x, made[1].x)
        assert not made[0].known.mask.any()
    else:
        assert made[0].x is None and made[0].known.mask.any()


def test_work_is_counted():
    """By hand: a guided plan is R denoisers, a gradient for every guide step, and the value once more at the end."""
    said = ladder()
    step, gradient, plan, guided = (problem(said.find(f"tiny/{kind}/b2")) for kind in KINDS)
    rows, climbs = guided.loop.rows, int(guided.loop.steps.guide_steps.sum())
    assert (rows, climbs) == (3, 4)  # two guide steps in the rows above t_stopgrad
    assert plan.flops == rows * step.flops
    assert guided.flops == plan.flops + climbs * gradient.flops + 2 * guided.loop.guide.program.flops
    assert plan.weight_bytes == rows * step.weight_bytes
    larger = problem(said.find("tiny/step/b4"))
    assert (larger.flops, larger.weight_bytes) == (2 * step.flops, step.weight_bytes)


def test_the_gradient_is_read_from_a_step_far_beyond_x():
    given = problem(ladder().find("tiny/gradient/b2"))
    assert given.loop.steps.gx[0] == FAR
    gradient = np.full_like(given.x, 1e-3)

    class Moved:
        x = (given.x + np.float32(FAR) * gradient).astype(np.float32)
        values = np.zeros(2, np.float32)

    np.testing.assert_allclose(given.answer(Moved)["gradient"], gradient, rtol=2.0**-24)
