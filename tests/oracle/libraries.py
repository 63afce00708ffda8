"""Objects of diffusers and lerobot themselves, where these are installed, with networks of random weights."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch


class Environment:
    """What a pipeline asks of one: sizes, and data for its statistics."""

    def __init__(self, observations: int, actions: int) -> None:
        self.observation_space, self.action_space = (SimpleNamespace(shape=(n,)) for n in (observations, actions))

    def get_dataset(self):
        rng, sizes = np.random.default_rng(0), (self.observation_space.shape, self.action_space.shape)
        (o,), (a,) = sizes
        data = {"observations": rng.normal(0.2, 1.3, (100, o)), "actions": rng.normal(0, 0.5, (100, a))}
        return {name: array.astype(np.float32) for name, array in data.items()}


def value_guided_pipeline(levels=(32, 64), n_train: int = 10, o: int = 4, a: int = 2):
    """diffusers' ValueGuidedRLPipeline, as the converted checkpoints are."""
    import diffusers
    from diffusers.experimental import ValueGuidedRLPipeline

    torch.manual_seed(0)
    common = {
        "in_channels": o + a, "out_channels": o + a, "block_out_channels": levels,
        "layers_per_block": 1, "down_block_types": ["DownResnetBlock1D"] * len(levels),
        "time_embedding_type": "positional", "use_timestep_embedding": True, "act_fn": "mish",
        "flip_sin_to_cos": False, "freq_shift": 1, "norm_num_groups": 8,
    }  # fmt: skip
    unet = diffusers.UNet1DModel(
        **common, up_block_types=["UpResnetBlock1D"] * (len(levels) - 1), mid_block_type="MidResTemporalBlock1D",
        out_block_type="OutConv1DBlock", downsample_each_block=False,
    )  # fmt: skip
    value = diffusers.UNet1DModel(
        **common, up_block_types=(), mid_block_type="ValueFunctionMidBlock1D", out_block_type="ValueFunction",
        downsample_each_block=True,
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=n_train, beta_schedule="squaredcos_cap_v2", clip_sample=False,
        variance_type="fixed_small_log", prediction_type="sample",
    )  # fmt: skip
    pipeline = ValueGuidedRLPipeline(value_function=value, unet=unet, scheduler=scheduler, env=Environment(o, a))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Unneeded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A package whose names are empty classes: torchvision, whose builds fit one build of torch, and which lerobot
    imports for images."""

    def find_spec(self, name, path=None, target=None):
        wanted = name.partition(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if wanted else None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)

        def named(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

        module.__getattr__ = named
        return module

    def exec_module(self, module):
        pass


@cache
def lerobot() -> SimpleNamespace:
    """The modules of lerobot's DiffusionPolicy. (Its other policies would need packages of their own.)"""
    finder, package = Unneeded(), importlib.util.find_spec("lerobot.policies")
    sys.meta_path.insert(0, finder)
    sys.modules["lerobot.policies"] = importlib.util.module_from_spec(package)
    try:
        configuration = importlib.import_module("lerobot.policies.diffusion.configuration_diffusion")
        modeling = importlib.import_module("lerobot.policies.diffusion.modeling_diffusion")
        features = importlib.import_module("lerobot.configs.types")
    finally:
        sys.meta_path.remove(finder)
    return SimpleNamespace(
        Config=configuration.DiffusionConfig, Policy=modeling.DiffusionPolicy, Feature=features.PolicyFeature,
        Type=features.FeatureType,
    )  # fmt: skip


def diffusion_policy_of_lerobot(state: int = 3, environment: int = 2, actions: int = 2, **options):
    """lerobot's DiffusionPolicy, of states."""
    the = lerobot()
    torch.manual_seed(0)
    config = the.Config(
        device="cpu",
        input_features={
            "observation.state": the.Feature(the.Type.STATE, (state,)),
            "observation.environment_state": the.Feature(the.Type.ENV, (environment,)),
        },
        output_features={"action": the.Feature(the.Type.ACTION, (actions,))}, **options,
    )  # fmt: skip
    return the.Policy(config).eval()
