"""accelerate takes the relatives' run-time objects: their call, their return values, their changes, their noise."""

import copy

import numpy as np
import pytest
import torch
from oracle.relative_objects import ValueGuidedRLPipeline, lowdim_policy, pipeline

import diffuser_fast as dfx

OBS = np.array([0.5, -0.3, 1.2, 0.1], np.float32)
ASKED = {"batch_size": 3, "planning_horizon": 8}


@pytest.fixture(autouse=True)
def gradients():
    torch.set_grad_enabled(True)


def seen(situations=2):
    return {"obs": torch.randn(situations, 2, 3, generator=torch.Generator().manual_seed(1))}


def near(found, expected):
    for name, value in expected.items():
        assert found[name].shape == value.shape and found[name].dtype == value.dtype
        assert (found[name] - value).abs().max() <= 1e-4 * max(1, value.abs().max())


@pytest.mark.parametrize("changes", [{}, {"variance_type": "fixed_small", "prediction_type": "epsilon"}])
def test_a_pipeline(changes):
    original = pipeline(**changes)
    fast = dfx.accelerate(original, noise="torch")
    for scale in (0.1, 0.3):  # arguments of one call
        torch.manual_seed(4)
        expected = original(OBS, scale=scale, **ASKED)
        after = torch.random.get_rng_state()
        torch.manual_seed(4)
        found = fast(OBS, scale=scale, **ASKED)
        assert found.shape == expected.shape and torch.equal(after, torch.random.get_rng_state())
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert fast.planner.checkpoint.guide.scale == 0.3 and fast.action_dim == 2


@pytest.mark.parametrize(
    "options",
    [{}, {"inpainting": True, "film": False}, {"ddim": True, "n_steps": 3, "n_train": 12, "clip_sample": True}],
)
def test_a_lowdim_policy(options):
    original = lowdim_policy(**options)
    fast = dfx.accelerate(original, noise="torch")
    for call in (fast, fast.predict_action):
        torch.manual_seed(4)
        with torch.no_grad():
            expected = original.predict_action(seen())
        torch.manual_seed(4)
        near(call(seen()), expected)


def test_weights_that_change_are_noticed():
    original = lowdim_policy()
    fast = dfx.accelerate(original, noise="torch")
    before = fast.planner
    with torch.no_grad():
        next(original.model.parameters()).mul_(1.5)
    torch.manual_seed(4)
    with torch.no_grad():
        expected = original.predict_action(seen())
    torch.manual_seed(4)
    near(fast(seen()), expected)
    assert fast.planner is not before


class Edited(ValueGuidedRLPipeline):
    """Its users' own: a pipeline that guides to the end."""

    def run_diffusion(self, x, known, n_guide_steps, scale):
        x, y = super().run_diffusion(x, known, n_guide_steps, scale)
        return known(x + 0.01), y


def test_an_object_that_plans_otherwise_is_refused():
    original = pipeline()
    edited = Edited(**{
        "unet": original.unet, "value": original.value_function, "scheduler": original.scheduler,
        "means": original.means, "stds": original.stds, "action_dim": 2,
    })  # fmt: skip
    with pytest.raises(ValueError, match="plans otherwise than the original whose names it has"):
        dfx.accelerate(edited, check={0: OBS})
    policy = lowdim_policy()
    policy.noise_scheduler.config["prediction_type"] = "sample"  # which its scheduler does not do
    with pytest.raises(ValueError, match="plans otherwise"):
        dfx.accelerate(policy)
    dfx.accelerate(policy, check=False)


def test_what_cannot_be_read_is_said():
    policy = lowdim_policy()
    policy.obs_as_local_cond = True
    with pytest.raises(ValueError, match="obs_as_local_cond: found True, expected False"):
        dfx.accelerate(policy)
    with pytest.raises(TypeError, match="normalizer: of a bare diffusion; a pipeline has its own"):
        dfx.accelerate(pipeline(), normalizer=object())
    with pytest.raises(ValueError, match="obs_dict: found state, expected 'obs'"):
        dfx.accelerate(lowdim_policy(), check=False)({"state": 1})


def test_copies():
    fast = dfx.accelerate(lowdim_policy())
    other = copy.deepcopy(fast)
    near(other(seen()), fast(seen()))
