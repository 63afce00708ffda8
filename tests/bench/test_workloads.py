"""workloads.toml says what it should, and every name in it can be made into a problem."""

import numpy as np
import pytest

from bench.problem import FAR, problem
from bench.workloads import KINDS, Workload, workloads
from diffuser_fast.core.lower import lower
from diffuser_fast.core.spec import UNetSpec, ValueSpec

# Per trajectory and evaluation, in millions of multiply-adds (the original's networks).
MACS = {
    "hopper": 19.6, "walker2d": 19.7, "halfcheetah": 4.74, "maze2d-umaze": 129, "maze2d-medium": 257,
    "maze2d-large": 386,
}  # fmt: skip


def test_names_are_unique_and_found_again():
    said = workloads()
    names = [w.name for w in said.suite]
    assert len(set(names)) == len(names) > 60
    assert [said.find(name) for name in names] == list(said.suite)
    for name in (*said.summary.values(), *(name for names in said.sets.values() for name in names)):
        assert said.find(name).name == name
    assert all(said.find(name).kind in ("plan", "guided") for name in said.summary.values())


def test_every_kind_and_batch_is_in_the_suite():
    for network in ("hopper", "walker2d", "halfcheetah"):
        for kind in KINDS:
            batches = {w.batch for w in workloads().suite if (w.network.name, w.kind) == (network, kind)}
            assert batches == {1, 4, 16, 64, 256}
    for network in ("maze2d-umaze", "maze2d-medium", "maze2d-large"):
        assert {w.kind for w in workloads().suite if w.network.name == network} == {"step", "plan"}


def test_select():
    said = workloads()

    def names(*patterns, **options):
        return [w.name for w in said.select(patterns, **options)]

    assert names(names=said.sets["quick"]) == said.sets["quick"]
    assert {w.network.name for w in said.select(["walker2d"])} == {"walker2d"}
    assert names("hopper/*/b64") == [f"hopper/{kind}/b64" for kind in KINDS]
    assert names("hopper/step/b3", names=()) == names("hopper/step/b3") == ["hopper/step/b3"]  # not in the suite
    assert names("hopper/step/b1") == ["hopper/step/b1"]
    assert names("step/b1", names=said.sets["quick"]) == [
        n for n in said.sets["quick"] if n.endswith("step/b1") or "step/b1" in n
    ]


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
        workloads().select([pattern])


@pytest.mark.parametrize("name", MACS)
def test_networks_have_the_original_sizes(name):
    config = workloads().networks[name]
    spec = UNetSpec(config.horizon, config.transition_dim, dim_mults=config.dim_mults, attention=config.attention)
    assert lower(spec).net.flops / 2e6 == pytest.approx(MACS[name], rel=0.02)
    if config.guide:
        lower(ValueSpec(config.horizon, config.transition_dim, dim_mults=config.dim_mults))


def test_another_horizon_has_no_guide():
    longer = workloads().find("hopper@64/step/b1")
    assert (longer.network.horizon, longer.network.guide) == (64, None)
    with pytest.raises(ValueError, match="no guide"):
        Workload(longer.network, "gradient", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_problems_repeat(kind):
    made = [problem(workloads().find(f"tiny/{kind}/b2")) for _ in range(2)]
    np.testing.assert_array_equal(made[0].tape, made[1].tape)
    assert made[0].tape.dtype == np.float32
    assert made[0].flops == made[1].flops > 0
    if kind in ("step", "gradient"):
        np.testing.assert_array_equal(made[0].x, made[1].x)
        assert not made[0].inpainting.mask.any()
    else:
        assert made[0].x is None and made[0].inpainting.mask.any()


def test_work_is_counted():
    """By hand: a guided plan is R denoisers, a gradient for every guide step, and the value once more at the end."""
    step, gradient, plan, guided = (problem(workloads().find(f"tiny/{kind}/b2")) for kind in KINDS)
    rows, climbs = guided.loop.rows, int(guided.loop.steps.guide_steps.sum())
    assert (rows, climbs) == (3, 4)  # two guide steps in the denoising steps above t_stopgrad
    assert plan.flops == rows * step.flops
    assert guided.flops == plan.flops + climbs * gradient.flops + 2 * guided.loop.guide.program.flops
    assert plan.weight_bytes == rows * step.weight_bytes
    larger = problem(workloads().find("tiny/step/b4"))
    assert (larger.flops, larger.weight_bytes) == (2 * step.flops, step.weight_bytes)


def test_the_gradient_is_read_from_a_step_far_beyond_x():
    given = problem(workloads().find("tiny/gradient/b2"))
    assert given.loop.steps.gx[0] == FAR
    gradient = np.full_like(given.x, 1e-3)

    class Moved:
        x = (given.x + np.float32(FAR) * gradient).astype(np.float32)
        values = np.zeros(2, np.float32)

    np.testing.assert_allclose(given.answer(Moved)["gradient"], gradient, rtol=2.0**-24)
