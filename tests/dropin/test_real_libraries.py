"""accelerate and load beside the libraries' own objects: make test-libraries."""

import json

import numpy as np
import pytest
import torch
from oracle import libraries

import diffuser_fast as dfx

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries themselves


@pytest.fixture(scope="module")
def pipeline():
    pytest.importorskip("diffusers")
    return libraries.value_guided_pipeline()


def test_a_pipeline_of_diffusers(pipeline):
    torch.set_grad_enabled(True)
    fast, obs = dfx.accelerate(pipeline, noise="torch"), np.array([0.3, -0.2, 0.8, 0.1], np.float32)
    for asked in ({"planning_horizon": 8}, {"planning_horizon": 16, "scale": 0.2, "n_guide_steps": 1}):
        torch.manual_seed(3)
        expected = pipeline(obs, batch_size=4, **asked)
        torch.manual_seed(3)
        np.testing.assert_allclose(fast(obs, batch_size=4, **asked), expected, rtol=0, atol=2e-4)


def test_a_pipeline_that_it_saved(pipeline, tmp_path):
    torch.set_grad_enabled(True)
    pipeline.save_pretrained(tmp_path / "saved")
    checkpoint = dfx.load(tmp_path / "saved", action_dim=2, horizon=8)
    ours = dfx.accelerate(pipeline).planner.checkpoint
    for name, array in checkpoint.unet.arrays.items():
        np.testing.assert_array_equal(array, ours.unet.arrays[name])
    assert checkpoint.guide.factor == ours.guide.factor and checkpoint.sampling == ours.sampling


POLICIES = {
    "DDPM": {},
    "DDIM, three steps, bias alone": {
        "noise_scheduler_type": "DDIM", "num_inference_steps": 3, "use_film_scale_modulation": False,
        "prediction_type": "sample", "clip_sample_range": 1.2, "n_groups": 4, "kernel_size": 3,
    },
}  # fmt: skip


@pytest.fixture(params=POLICIES.values(), ids=POLICIES)
def policy(request):
    pytest.importorskip("lerobot")
    return libraries.diffusion_policy_of_lerobot(
        n_obs_steps=2, horizon=8, n_action_steps=4, down_dims=(16, 32), diffusion_step_embed_dim=16,
        num_train_timesteps=12, **request.param,
    )  # fmt: skip


def acted(policy, seed, steps=10):
    """What it does in so many steps of two situations; its noise is seeded."""
    policy.reset()
    torch.manual_seed(seed)
    rng, shapes = np.random.default_rng(seed), {"observation.state": (2, 3), "observation.environment_state": (2, 2)}
    seen = lambda: {name: torch.tensor(rng.normal(size=shape), dtype=torch.float32) for name, shape in shapes.items()}
    return torch.stack([policy.select_action(seen()) for _ in range(steps)])


def test_a_policy_of_lerobot(policy):
    fast = dfx.accelerate(policy, noise="torch")
    for seed in (3, 4):
        expected = acted(policy, seed)
        found = acted(fast, seed)
        assert found.dtype == expected.dtype and found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
    noise, found = torch.randn(2, 8, 2), []
    batch = {"observation.state": torch.zeros(2, 3), "observation.environment_state": torch.ones(2, 2)}
    for one in (policy, fast):
        one.reset()
        torch.manual_seed(5)
        found.append(one.select_action(batch, noise=noise))
    torch.testing.assert_close(*found, rtol=0, atol=2e-4)


def test_a_policy_that_it_saved(policy, tmp_path):
    policy.save_pretrained(tmp_path)
    fields = {name: {"scale": [1.0] * n, "offset": [0.0] * n} for name, n in (("observations", 5), ("actions", 2))}
    (tmp_path / "stats.json").write_text(json.dumps({"normalizer": "AffineNormalizer", "fields": fields}))
    checkpoint = dfx.load(tmp_path, normalizer=tmp_path / "stats.json")
    ours = dfx.accelerate(policy).planner.checkpoint
    for name, array in checkpoint.unet.arrays.items():
        np.testing.assert_array_equal(array, ours.unet.arrays[name])
    assert checkpoint.sampling == ours.sampling and checkpoint.acting == ours.acting
