"""The end of each recorded trace, from the reference's state there: three denoising steps, or one of a relative's.

A whole trace takes the interpreter minutes; on a GPU tests/test_goldens.py runs them all.
"""

import numpy as np
import pytest
from bounds import agree, implied_trace
from oracle.goldens import FOLDER, NAMES, load_golden
from test_golden_relatives import checkpoint_of, golden

import diffuser_fast as dfx
from diffuser_fast.backends import triton

STEPS = 3  # the first of which is guided, in the guided trace


class Late:
    """An engine that takes over the reference's plan three denoising steps before its end."""

    def __init__(self, reference, loop, batch, steps=STEPS):
        self.reference, self.engine = reference, triton.ready(loop, device="cpu", batch=batch)
        self.start = loop.rows - steps

    def __call__(self, inpainting, noise, *, x=None, start=0, tables=None, candidates=None, chain=False):
        given = {"tables": tables, "candidates": candidates}
        until = self.reference(inpainting, noise, x=x, chain=True, **given).chain[:, self.start]
        return self.engine(inpainting, noise, x=until, start=self.start, **given)


@pytest.mark.filterwarnings("ignore:conditions:UserWarning")  # recorded beyond the limits of their data sets
@pytest.mark.parametrize("name", NAMES)
def test_ends_as_the_recorded_trace(name):
    golden, checkpoint = load_golden(name), dfx.load(FOLDER / name)
    planner = dfx.Planner(checkpoint, "reference", batch_size=golden.batch_size)
    late = Late(planner.engine, planner.loop, golden.batch_size)
    planner._engine = lambda batch, horizon: late
    plans = planner.plan(golden.conditions, noise=golden.tape)
    agree(implied_trace(name), plans, golden)


def observed(g):
    return {"condition": np.concatenate((g["obs_state"], g["obs_env"]), axis=-1)}


# Of the relatives: how many steps before the end (a row without a network is one), what is given, and what comes out.
RELATIVES = {
    "diffusers": (1, lambda g: ({0: g["obs"]}, {}), lambda plans, g: (plans.actions[0, 0], g["action"])),
    "cleandiffuser": (
        2, lambda g: ({0: g["prior"][:, 0, :4]}, {}), lambda plans, g: (plans.observations[:, 0], g["sample"][..., :4]),
    ),
    "diffusion_policy": (
        1, lambda g: ({}, {"condition": g["obs"]}), lambda plans, g: (plans.actions[:, 0], g["action_pred"]),
    ),
    "lerobot": (1, lambda g: ({}, observed(g)), lambda plans, g: (plans.actions[:, 0, 1:9], g["actions"])),
    "decision_diffuser": (
        1, lambda g: ({0: g["obs_normalised"]}, {"condition": g["returns"]}),
        lambda plans, g: (plans.observations[:, 0], g["sample"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RELATIVES)
def test_ends_as_the_recorded_trace_of_a_relative(name, tmp_path):
    """One forward of each network: FiLM and conditions by tables of each situation, two branches, a final row."""
    steps, given, results = RELATIVES[name]
    g, checkpoint = golden(name), checkpoint_of(name, tmp_path)
    candidates = 4 if name == "diffusers" else 1
    planner = dfx.Planner(checkpoint, "reference", batch_size=candidates)
    conditions, arguments = given(g)
    count = 4
    late = Late(planner._engine(count, planner.horizon), planner.loop, count, steps)
    planner._engine = lambda batch, horizon: late
    noise = g["tape"] if candidates == 4 else g["tape"][:, :, None]
    found, expected = results(planner.plan(conditions, noise=noise, **arguments), g)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
