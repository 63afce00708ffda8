"""accelerate on the libraries' own objects, where they are installed: pip install diffusers, then this file."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import diffuser_fast as dfx

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries themselves


class Environment:
    """What a pipeline asks of one: sizes, and data for its statistics."""

    observation_space, action_space = SimpleNamespace(shape=(4,)), SimpleNamespace(shape=(2,))

    def get_dataset(self):
        rng = np.random.default_rng(0)
        data = {"observations": rng.normal(0.2, 1.3, (100, 4)), "actions": rng.normal(0, 0.5, (100, 2))}
        return {name: array.astype(np.float32) for name, array in data.items()}


@pytest.fixture(scope="module")
def pipeline():
    """A small ValueGuidedRLPipeline of random weights, over synthetic data."""
    diffusers = pytest.importorskip("diffusers")
    experimental = pytest.importorskip("diffusers.experimental")
    torch.manual_seed(0)
    common = {
        "in_channels": 6, "out_channels": 6, "block_out_channels": (32, 64), "layers_per_block": 1,
        "down_block_types": ["DownResnetBlock1D"] * 2, "time_embedding_type": "positional",
        "use_timestep_embedding": True, "act_fn": "mish", "flip_sin_to_cos": False, "freq_shift": 1,
        "norm_num_groups": 8,
    }  # fmt: skip
    unet = diffusers.UNet1DModel(
        **common, up_block_types=("UpResnetBlock1D",), mid_block_type="MidResTemporalBlock1D",
        out_block_type="OutConv1DBlock", downsample_each_block=False,
    )  # fmt: skip
    value = diffusers.UNet1DModel(
        **common, up_block_types=(), mid_block_type="ValueFunctionMidBlock1D", out_block_type="ValueFunction",
        downsample_each_block=True,
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=10, beta_schedule="squaredcos_cap_v2", clip_sample=False, variance_type="fixed_small_log",
        prediction_type="sample",
    )  # fmt: skip
    return experimental.ValueGuidedRLPipeline(value_function=value, unet=unet, scheduler=scheduler, env=Environment())


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
