"""The configuration of a DDPM or DDIM scheduler of Hugging Face's diffusers, as numbers that a sampler takes.

Its coefficients follow from alphas_cumprod in float32, as the library computes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.samplers import Sampling
from ..core.schedule import Schedule
from .plain_json import Settings

MOST_STEPS = 1 << 16  # training steps
_VARIANCES = ("fixed_small", "fixed_small_log")  # both are the posterior's; `Guide` knows what they are told apart by


@dataclass(frozen=True, eq=False)
class Scheduler:
    """What a Checkpoint wants of it. logarithmic: its ``_get_variance`` gives a standard deviation."""

    schedule: Schedule
    prediction: str
    clip: bool
    clip_range: float
    sampling: Sampling
    logarithmic: bool

    @property
    def fields(self) -> dict[str, Any]:
        """Of a Checkpoint."""
        return {
            "schedule": self.schedule, "prediction": self.prediction, "clip_denoised": self.clip,
            "clip_range": self.clip_range, "sampling": self.sampling,
        }  # fmt: skip


def scheduler(config: Settings, kind: str, n_steps: int | None) -> Scheduler:
    """kind: "DDPM" or "DDIM". n_steps: denoising steps on the "leading" grid; None: all. ValueError names the key."""
    if kind not in ("DDPM", "DDIM"):
        raise ValueError(f"scheduler: found {kind}, expected DDPM or DDIM")
    n_train = config.whole("num_train_timesteps", 1000, 1, MOST_STEPS)
    for key in ("thresholding", "rescale_betas_zero_snr"):
        config.only(key, False, False)
    config.only("timestep_spacing", "leading", "leading")
    config.only("steps_offset", 0, 0)
    config.only("prediction_type", "epsilon", "epsilon", "sample")
    if kind == "DDPM":
        config.only("variance_type", "fixed_small", *_VARIANCES)
    else:
        config.only("set_alpha_to_one", True, True)
    own = {"sampler": "ddim", "direction": "unclipped"} if kind == "DDIM" else {}
    return Scheduler(
        schedule=Schedule.from_alphas_cumprod(_alphas_cumprod(config, n_train)),
        prediction="x0" if config.text("prediction_type", "epsilon") == "sample" else "epsilon",
        clip=config.flag("clip_sample", True),
        clip_range=config.real("clip_sample_range", 1.0),
        sampling=Sampling(n_steps=None if n_steps == n_train else n_steps, grid="leading", **own),
        logarithmic=config.get("variance_type") == "fixed_small_log",
    )


def inference_steps(policy: Settings) -> int | None:
    """How many denoising steps a policy takes; None: all."""
    return None if policy.get("num_inference_steps") is None else policy.whole("num_inference_steps", None, 1)


def _alphas_cumprod(config: Settings, n: int) -> NDArray[np.float32]:
    first, last = config.real("beta_start", 1e-4, 0, 1), config.real("beta_end", 0.02, 0, 1)
    kind = config.text("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        raise ValueError("trained_betas: found numbers, expected null")
    if kind == "linear":
        betas = np.linspace(first, last, n, dtype=np.float32)
    elif kind == "scaled_linear":
        betas = np.linspace(first**0.5, last**0.5, n, dtype=np.float32) ** 2
    elif kind == "squaredcos_cap_v2":
        left = [math.cos((i / n + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(n + 1)]
        betas = np.array([min(1 - b / a, 0.999) for a, b in pairwise(left)], np.float32)
    else:
        raise ValueError(f"beta_schedule: found {kind!r}, expected 'linear', 'scaled_linear' or 'squaredcos_cap_v2'")
    # Products accumulate in float64 and are rounded to float32 one by one.
    return np.cumprod((1 - betas).astype(np.float64)).astype(np.float32)
