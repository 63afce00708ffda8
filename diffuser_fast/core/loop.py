"""The sampling loop as one record: everything an engine needs to turn noise into plans."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint, Weights
from .guidance import Guide, guided
from .lower import lower
from .passes import fuse, time_tables, vjp
from .program import Program
from .samplers import StepTable
from .scalars import whole
from .spelling import setting


@dataclass(frozen=True, eq=False)
class Network:
    """program: unfused, over ``[D, H]``. weights: by name, float32. tables: time-embedding tables, float32
    ``[R, S]``, a row for each of the StepTable.

    ``fused`` is the same function for engines; ``gradient`` (guides only) is ``(x, dy) -> (y, dx)``, fused.
    """

    program: Program
    weights: MappingProxyType[str, NDArray[np.float32]]
    tables: NDArray[np.float32]
    fused: Program
    gradient: Program | None = None


@dataclass(frozen=True, eq=False)
class SamplingLoop:
    """One plan, from noise to trajectory. An engine takes x, the inpainted first noise, through the denoising steps:

    for each guide step: y, g = value and gradient of the guide at x;  x += gx * g;  x inpainted
    the network, x0 = p x + q net(x);  x0 += g0 * gradient at x;  x0 clipped;
    x = a x0 + b x + d previous_x0 + s noise;  x inpainted.
    The first step that is run, step 0 or that of a restart, has none before it: there previous_x0 is x0 itself, so
    that a multistep sampler begins at first order.
    A plan's value is the guide's last evaluation in the last denoising step; where that has no guide step the guide is
    evaluated once, at the step's input. Without a guide all values are zero. Plans are ranked by value, stable, best
    first. ``ReferenceEngine.__call__`` (backends/reference.py) is this loop, line for line.
    """

    denoiser: Network
    guide: Network | None
    steps: StepTable
    horizon: int
    transition_dim: int
    clip: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None  # (lo, hi), each [D]

    @property
    def rows(self) -> int:
        """R, the number of denoising steps."""
        return self.steps.rows


@dataclass(frozen=True, eq=False)
class Result:
    """What an engine returns; all float32, normalised, in sample order.

    x: ``[N, H, D]``; values: ``[N]``; order: int64 ``[N]``, within each group of candidates the indices (of the group)
    best first; chain: ``[N, R + 1, H, D]`` or None, entry 0 the inpainted first noise.
    """

    x: NDArray[np.float32]
    values: NDArray[np.float32]
    order: NDArray[np.int64]
    chain: NDArray[np.float32] | None = None


def not_finite(steps: StepTable, k: int) -> FloatingPointError:
    """What an engine raises when x is no longer finite after denoising step k."""
    return FloatingPointError(f"denoising step {k} (t = {steps.t[k]}): the plan is no longer finite")


def ranking(values: NDArray, candidates: int) -> NDArray[np.int64]:
    """Order of each group of ``candidates`` consecutive plans: by value, descending, stable: ``[N]``."""
    groups = np.asarray(values).reshape(-1, candidates)
    return np.argsort(-groups, axis=1, kind="stable").reshape(-1)


def sampling_loop(
    checkpoint: Checkpoint, steps: StepTable, *, horizon: int | None = None, guide: Guide | None = None
) -> SamplingLoop:
    """A checkpoint, a sampler's table and a guide (None: unguided) -> the loop. ValueError if they do not fit."""
    horizon = checkpoint.unet.spec.horizon if horizon is None else whole("horizon", horizon)
    depth = checkpoint.unet.spec.transition_dim
    checkpoint.unet.spec.check_horizon(horizon)
    value = None
    if guide is not None:
        if checkpoint.value is None:
            cure = setting("value", "...", "PATH", call="load(path, {})")
            raise ValueError(f"guide: the checkpoint has no value network ({cure} adds one)")
        checkpoint.value.spec.check_horizon(horizon)
        steps = guided(steps, guide)
        value = network(checkpoint.value, steps, horizon, with_gradient=True)
    bound = np.ones(depth, np.float32)
    return SamplingLoop(
        denoiser=network(checkpoint.unet, steps, horizon),
        guide=value,
        steps=steps,
        horizon=horizon,
        transition_dim=depth,
        clip=(-bound, bound) if checkpoint.clip_denoised else None,
    )


def network(weights: Weights, steps: StepTable, horizon: int, *, with_gradient: bool = False) -> Network:
    """A network made ready for a sampler: lowered, its time tables computed, its gradient derived if asked for."""
    lowered = lower(weights.spec, horizon)
    tables = time_tables(lowered.time, weights.arrays, steps.t, weights.spec.dim)
    used = {name: weights.arrays[name] for name in lowered.net.weights}
    return Network(
        program=lowered.net,
        weights=MappingProxyType(used),
        tables=tables.astype(np.float32),
        fused=fuse(lowered.net),
        gradient=fuse(vjp(lowered.net)) if with_gradient else None,
    )
