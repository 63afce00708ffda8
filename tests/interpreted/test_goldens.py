"""The end of each recorded trace: the last three denoising steps, or of a relative's one, from the reference's state
there.

A whole trace takes the interpreter minutes; on a GPU tests/test_goldens.py runs them all.
"""

import numpy as np
import pytest
from bounds import agree, implied_trace
from oracle.goldens import FOLDER, NAMES, load_golden

import diffuser_fast as dfx
from diffuser_fast.backends import triton

STEPS = 3  # the first of which is guided, in the guided trace


class Late:
    """An engine that takes over the reference's plan three denoising steps before its end."""

    def __init__(self, reference, loop, batch, steps=STEPS):
        self.reference, self.engine = reference, triton.ready(loop, device="cpu", batch=batch)
        self.start = loop.rows - steps

    def __call__(self, inpainting, noise, *, x=None, start=0, tables=None, candidates=None, chain=False):
        until = self.reference(inpainting, noise, tables=tables, candidates=candidates, chain=True).chain[:, self.start]
        return self.engine(inpainting, noise, x=until, start=self.start, tables=tables, candidates=candidates)


@pytest.mark.filterwarnings("ignore:conditions:UserWarning")  # recorded beyond the limits of their data sets
@pytest.mark.parametrize("name", NAMES)
def test_ends_as_the_recorded_trace(name):
    golden, checkpoint = load_golden(name), dfx.load(FOLDER / name)
    planner = dfx.Planner(checkpoint, "reference", batch_size=golden.batch_size)
    late = Late(planner.engine, planner.loop, golden.batch_size)
    planner._engine = lambda batch, horizon: late
    plans = planner.plan(golden.conditions, noise=golden.tape)
    agree(implied_trace(name), plans, golden)


def test_ends_as_the_recorded_trace_of_a_conditioned_network():
    """FiLM, by tables of each situation."""
    with np.load(FOLDER / "relatives" / "lerobot" / "golden.npz") as file:
        golden = dict(file)
    seen = np.concatenate((golden["obs_state"], golden["obs_env"]), axis=-1)
    planner = dfx.Planner(dfx.load(FOLDER / "relatives" / "lerobot"), "reference")
    reference, loop = planner._engine(len(seen), planner.horizon), planner.loop
    late = Late(reference, loop, len(seen), steps=1)
    planner._engine = lambda batch, horizon: late
    plans = planner.plan({}, noise=golden["tape"][:, :, None], condition=seen)
    expected = golden["actions"]
    assert np.abs(plans.actions[:, 0, planner.executed] - expected).max() <= 1e-4 * np.abs(expected).max()
