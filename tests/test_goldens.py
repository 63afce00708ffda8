"""Traces recorded from the original implementation, through the public API: load a folder, plan on its noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle.goldens import FOLDER, NAMES, load_golden

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.core.normalizers import Gaussian
from diffuser_fast.settings import SETTINGS

torch.set_num_threads(1)
# What was recorded, and what is drawn here, need not lie inside the limits it is normalised by.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the data's limits")
TARGETS = [*c.targets(), c.EXACT]
TOLERANCE = 1e-4  # normalised units; of values, of the largest


@pytest.fixture(params=TARGETS, ids=lambda target: f"{target} {target.precision}")
def target(request, monkeypatch):
    """A backend with one instruction set; which one is a setting, not an argument of Planner."""
    if request.param.isa is not None:
        from diffuser_fast.backends import cpu

        monkeypatch.setattr(cpu, "SETTINGS", replace(SETTINGS, isa=request.param.isa))
    return request.param


def planner_for(checkpoint, golden, target, **options):
    return dfx.Planner(
        checkpoint, target.backend, batch_size=golden.batch_size, precision=target.precision, threads=1, **options
    )


def distances(plans, golden, normalizers):
    """Largest error of each field, in the units in which agreement is judged."""

    def half_width(n):
        return n.stds if isinstance(n, Gaussian) else (n.maxs - n.mins) / 2

    def largest(x):
        return float(np.abs(x).max())

    return {
        "action": largest((plans.actions[0, 0] - golden.action) / half_width(normalizers.actions)),
        "actions": largest((plans.actions - golden.actions) / half_width(normalizers.actions)),
        "observations": largest((plans.observations - golden.observations) / half_width(normalizers.observations)),
        "values": largest(plans.values - golden.values) / max(largest(golden.values), 1e-30),
    }


@pytest.mark.parametrize("name", NAMES)
def test_reproduces_the_recorded_trace(name, target):
    golden, checkpoint = load_golden(name), dfx.load(FOLDER / name)
    planner = planner_for(checkpoint, golden, target)
    assert planner.backend == target.backend
    if target.isa is not None:
        assert planner._engine(golden.batch_size, planner.horizon).isa == target.isa
    plans = planner.plan(golden.conditions, noise=golden.tape, return_chain=True)
    errors = distances(plans, golden, checkpoint.normalizers)
    print(name, target, target.precision, {field: f"{error:.1e}" for field, error in errors.items()})
    assert max(errors.values()) <= TOLERANCE
    assert plans.chain.shape == (golden.batch_size, len(golden.tape), *golden.tape.shape[2:])
    np.testing.assert_array_equal(plans.chain[:, -1], np.concatenate((plans.actions, plans.observations), axis=-1))
    # The plans came out in the recorded order; so did the noise they began with.
    assert (np.diff(plans.values) <= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_native_file_plans_the_same(name, tmp_path):
    from diffuser_fast.formats import save

    target = TARGETS[-2]  # one will do
    golden, checkpoint = load_golden(name), dfx.load(FOLDER / name)
    again = dfx.load(save(checkpoint, tmp_path / "checkpoint.safetensors"))
    found, expected = (
        planner_for(one, golden, target).plan(golden.conditions, noise=golden.tape[:, ::-1])
        for one in (again, checkpoint)
    )
    for field in ("actions", "observations", "values"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


MISREADINGS = {
    "one guide step": dfx.Guide(0.1, 1, 2),
    "half the scale": dfx.Guide(0.05, 2, 2),
    "gradient not scaled": dfx.Guide(0.1, 2, 2, scale_by_variance=False),
    "unguided, ranked": dfx.Guide(n_steps=0),
    "unguided": None,
}


@pytest.mark.parametrize("misreading", MISREADINGS)
def test_another_guide_does_not_reproduce_it(misreading):
    golden, checkpoint = load_golden("hopper_guided"), dfx.load(FOLDER / "hopper_guided")
    planner = planner_for(checkpoint, golden, c.REFERENCE, guide=MISREADINGS[misreading])
    errors = distances(planner.plan(golden.conditions, noise=golden.tape), golden, checkpoint.normalizers)
    assert max(errors.values()) > 10 * TOLERANCE
