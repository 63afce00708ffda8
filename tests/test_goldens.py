"""Traces recorded from the original implementation, through the public API: load a folder, plan on its noise."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from bounds import implied_trace
from oracle.goldens import FOLDER, NAMES, load_golden, load_policy, replay

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.settings import SETTINGS

# What was recorded, and what is drawn here, need not lie inside the limits it is normalised by.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the data's limits")
TARGETS = [*c.targets(), c.EXACT]


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


def verdicts(found, name, exactness="exact", precision="float32"):
    return {
        field: c.judge(getattr(found, field), bound, exactness=exactness)
        for field, bound in implied_trace(name, precision).items()
        if field != "chain"  # which was not recorded
    }


def reproduces(*arguments):
    for field, verdict in verdicts(*arguments).items():
        assert verdict.passed, f"{field}: {verdict}"


@pytest.mark.parametrize("name", NAMES)
def test_the_trace_is_as_good_as_float32(name):
    """What the original recorded is within the same bound as everyone else."""
    golden = load_golden(name)
    reproduces(golden, name)
    np.testing.assert_array_equal(golden.action, golden.actions[0, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_reproduces_it(name, dtype):
    got = replay(load_golden(name), load_policy(name, dtype))
    assert got.actions.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    reproduces(got, name)


@pytest.mark.parametrize("name", NAMES)
def test_reproduces_the_recorded_trace(name, target):
    golden, checkpoint = load_golden(name), dfx.load(FOLDER / name)
    planner = planner_for(checkpoint, golden, target)
    assert planner.backend == target.backend
    if target.isa is not None:
        assert planner._engine(golden.batch_size, planner.horizon).isa == target.isa
    plans = planner.plan(golden.conditions, noise=golden.tape, return_chain=True)
    reproduces(plans, name, target.exactness, "float32" if target.precision == "float64" else target.precision)
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


GUIDES = {
    "one guide step": dfx.Guide(0.1, 1, 2),
    "half the scale": dfx.Guide(0.05, 2, 2),
    "gradient not scaled": dfx.Guide(0.1, 2, 2, scale_by_variance=False),
    "unguided, ranked": dfx.Guide(n_steps=0),
    "unguided": None,
}


@pytest.mark.parametrize("guide", GUIDES)
def test_another_guide_does_not_reproduce_it(guide):
    golden, checkpoint = load_golden("hopper_guided"), dfx.load(FOLDER / "hopper_guided")
    planner = planner_for(checkpoint, golden, c.REFERENCE, guide=GUIDES[guide])
    plans = planner.plan(golden.conditions, noise=golden.tape)
    assert not any(verdict.passed for verdict in verdicts(plans, "hopper_guided", "close").values())


# What must not reproduce a trace: misreadings of the method that a weaker check would let through.
MISREADINGS = {
    "std for variance": lambda p, tape: p.diffusion_model.posterior_variance.sqrt_(),
    "raw gradient": lambda p, tape: p.sample_kwargs.update(scale_grad_by_std=False),
    "one guide step": lambda p, tape: p.sample_kwargs.update(n_guide_steps=1),
}
MAZE_MISREADINGS = {
    "no clipping": lambda p, tape: setattr(p.diffusion_model, "clip_denoised", False),
    "half the first noise": lambda p, tape: np.multiply(tape[0], 0.5, out=tape[0]),
    "half the noise of each step": lambda p, tape: np.multiply(tape[1:], 0.5, out=tape[1:]),
    "half of all noise": lambda p, tape: np.multiply(tape, 0.5, out=tape),
}


@pytest.mark.parametrize(
    ("name", "misread"),
    [("hopper_guided", m) for m in MISREADINGS] + list(product(("maze2d_branch", "maze_inpaint"), MAZE_MISREADINGS)),
)
def test_a_misreading_does_not_reproduce_it(name, misread):
    golden, policy = load_golden(name), load_policy(name)
    tape = golden.tape.copy()
    (MISREADINGS | MAZE_MISREADINGS)[misread](policy, tape)
    assert not verdicts(replay(golden, policy, tape), name, "close")["observations"].passed
