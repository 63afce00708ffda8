"""Random networks in which nothing is trivially zero or one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Acting, Checkpoint, Weights
from ..core.guidance import Guide
from ..core.lower import lower
from ..core.normalizers import Gaussian, Limits, Normalizers
from ..core.program import Program
from ..core.schedule import Schedule, cosine
from ..core.spec import Spec, UNetSpec, ValueSpec


def random_weights(program: Program, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Weights by name, float32. Convolutions are N(0, 1 / fan-in), so that values keep their size through the depth;
    scales of norms are N(1, 0.3^2); biases and shifts, zero in a fresh network, are N(0, 0.3^2)."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for op in program.ops:
        roles = ("kernel", "bias", "scale", "shift") if op.kind.startswith("conv") else ("scale", "shift")
        for role, name in zip(roles, op.weights, strict=False):
            shape = program.weights[name]
            if name in arrays:  # a gradient reads the forward network's weights again
                continue
            if role == "kernel":
                inputs = shape[0] if op.attrs["transposed"] else shape[1]
                taps = -(-shape[2] // op.attrs["stride"]) if op.attrs["transposed"] else shape[2]
                numbers = rng.normal(0, 1 / np.sqrt(inputs * taps), shape)
            else:
                numbers = rng.normal(1.0 if role == "scale" else 0.0, 0.3, shape)
            arrays[name] = numbers.astype(np.float32)
    return arrays


def random_checkpoint(
    unet: UNetSpec, value: ValueSpec | None = None, *, action_dim: int = 2, seed: int = 0, n_train: int = 20,
    schedule: Schedule | None = None, prediction: str = "x0", clip_denoised: bool = False, guide: Guide | None = None,
    normalizer: str | None = "gaussian",
) -> Checkpoint:  # fmt: skip
    """A checkpoint of these networks with random weights and random statistics, by default on the cosine schedule.

    normalizer: "gaussian", "limits" or None (no statistics). The same arguments always give the same checkpoint.
    """
    rng = np.random.default_rng([seed, 7])
    return Checkpoint(
        unet=_random(unet, rng),
        schedule=cosine(n_train) if schedule is None else schedule,
        action_dim=action_dim,
        prediction=prediction,
        clip_denoised=clip_denoised,
        value=None if value is None else _random(value, rng),
        guide=Guide() if guide is None else guide,
        acting=Acting("local" if unet.local else "after"),
        normalizers=_statistics(normalizer, unet.transition_dim - action_dim, action_dim, rng),
        metadata={"source": "random weights", "seed": seed},
    )


def _random(spec: Spec, rng: np.random.Generator) -> Weights:
    parts = [random_weights(program, rng) for program in lower(spec).programs]
    return Weights(spec, {name: array for part in parts for name, array in part.items()})


def _statistics(kind: str | None, observations: int, actions: int, rng: np.random.Generator) -> Normalizers | None:
    if kind is None:
        return None
    if kind not in ("gaussian", "limits"):
        raise ValueError(f"normalizer: found {kind!r}, expected 'gaussian', 'limits' or None")

    def one(dim: int) -> Gaussian | Limits:
        centre, width = rng.normal(0, 2, dim), rng.uniform(0.5, 3, dim)
        return Gaussian(centre, width) if kind == "gaussian" else Limits(centre - width, centre + width)

    return Normalizers(observations=one(observations), actions=one(actions))
