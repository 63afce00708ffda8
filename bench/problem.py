"""A workload made into arrays: networks with random weights, inputs by seed, and what a right answer is made of.

numpy only: a process that runs one candidate loads nothing that the candidate does not.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffuser_fast.conformance import random_checkpoint
from diffuser_fast.core.checkpoint import Checkpoint
from diffuser_fast.core.conditions import Inpainting, no_inpainting
from diffuser_fast.core.loop import Network, Result, SamplingLoop, TimeTables, network, sampling_loop
from diffuser_fast.core.ops import op_weight_bytes
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder, Program
from diffuser_fast.core.samplers import StepTable, ddpm
from diffuser_fast.core.spec import UNetSpec, ValueSpec

from .workloads import NetworkConfig, Workload

# Kind of a workload -> what its answer consists of.
OUTPUTS = {"step": ("y",), "gradient": ("value", "gradient"), "plan": ("x",), "guided": ("x", "value")}

# An engine runs whole loops. Its gradient is read from a loop that moves x by so much of it that x itself is lost in
# the rounding: x' = x + 2^30 g, g = (x' - x) / 2^30, exact to half a unit in the last place of the largest g.
FAR = 2.0**30


@dataclass(frozen=True, eq=False)
class Problem:
    """What every candidate is given, float32.

    loop: for plans the whole loop; for "step" and "gradient" one denoising step of it, so that engines run these too.
    x: ``[B, H, D]``, where a single step starts (None for plans: they start from the tape). tape: ``[R + 1, B, H, D]``.
    """

    workload: Workload
    checkpoint: Checkpoint
    loop: SamplingLoop
    inpainting: Inpainting
    tape: NDArray[np.float32]
    x: NDArray[np.float32] | None

    def answer(self, result: Result) -> dict[str, NDArray]:
        """What an engine's result says: ``y``; or ``value`` and ``gradient``; or ``x`` and, guided, ``value``."""
        if self.workload.kind == "step":
            return {"y": result.x}
        if self.workload.kind == "gradient":
            return {"value": result.values, "gradient": (np.asarray(result.x, np.float64) - self.x) / FAR}
        return {"x": result.x} if self.loop.guide is None else {"x": result.x, "value": result.values}

    @property
    def network(self) -> Network:
        """Of a single step: the one that is evaluated."""
        return self.loop.guide if self.workload.kind == "gradient" else self.loop.denoiser

    @property
    def flops(self) -> int:
        """Dense floating-point operations of one call, all trajectories together (see core/ops.py)."""
        return self.workload.batch * sum(times * program.flops for times, program in self._evaluations())

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that one call reads at least: once per evaluation, for however many trajectories.

        Every op reads its own: a gradient reads the convolutions twice, forward and back.
        """
        return sum(t * sum(op_weight_bytes(op, p.weights) for op in p.ops) for t, p in self._evaluations())

    def digest(self, others: Iterable[bytes] = ()) -> str:
        """Of everything that it is made of, and of ``others``: what is kept on disk is found again by it."""
        loop, found = self.loop, hashlib.sha256(self.workload.name.encode())
        networks = [network for network in (loop.denoiser, loop.guide) if network is not None]
        arrays = [a for network in networks for a in (*network.weights.values(), network.tables.per_step)]
        arrays += [*vars(loop.steps).values(), *(loop.clip or ()), self.inpainting.mask, self.inpainting.values]
        arrays += [self.tape, *([] if self.x is None else [self.x])]
        programs = (network.program.digest().encode() for network in networks)
        for part in (*programs, *(np.asarray(array).tobytes() for array in arrays), *others):
            found.update(part)
        return found.hexdigest()[:32]

    def _evaluations(self) -> list[tuple[int, Program]]:
        """How often each network is evaluated in one call."""
        guide = self.loop.guide
        if self.workload.kind == "gradient":
            return [(1, vjp(guide.program))]
        found = [(self.loop.rows, self.loop.denoiser.program)]
        if guide is not None:
            at_end = 0 if self.loop.steps.guide_steps[-1] else 1
            found += [(int(self.loop.steps.guide_steps.sum()), vjp(guide.program)), (at_end, guide.program)]
        return found


def problem(workload: Workload, seed: int = 0) -> Problem:
    """The same arrays for the same workload and seed."""
    config, made = workload.network, checkpoint(workload.network, seed)
    loop = LOOPS[workload.kind](made)
    rng = np.random.default_rng([seed, zlib.crc32(workload.name.encode())])
    sizes = (workload.batch, loop.horizon, loop.transition_dim)
    if workload.kind in ("plan", "guided"):
        tape = rng.normal(size=(loop.rows + 1, *sizes)).astype(np.float32)
        mask = np.zeros(sizes[1:], bool)
        mask[list(config.observed), config.action_dim :] = True
        inpainting = Inpainting(mask, np.where(mask, rng.normal(0, 0.5, mask.shape), 0)[None])
        return Problem(workload, made, loop, inpainting, tape, None)
    x = rng.normal(size=sizes).astype(np.float32)
    return Problem(workload, made, loop, no_inpainting(*sizes[1:]), np.zeros((2, *sizes), np.float32), x)


@lru_cache(maxsize=2)  # workloads come network by network
def checkpoint(config: NetworkConfig, seed: int = 0) -> Checkpoint:
    """A checkpoint of that configuration with random weights."""
    sizes = {
        "horizon": config.horizon, "transition_dim": config.transition_dim, "dim": config.dim,
        "dim_mults": config.dim_mults, "groups": config.groups,
    }  # fmt: skip
    value = ValueSpec(**sizes) if config.guide else None
    return random_checkpoint(
        UNetSpec(**sizes, attention=config.attention), value, action_dim=config.action_dim, seed=seed,
        n_train=config.steps, clip_denoised=config.clip, guide=config.guide,
    )  # fmt: skip


def _step(ckpt: Checkpoint) -> SamplingLoop:
    """One evaluation of the denoiser in the middle of the schedule: x' = net(x)."""
    steps, spec = _one_step(ckpt, a=1.0, b=0.0), ckpt.unet.spec
    return SamplingLoop(network(ckpt.unet, steps, spec.horizon), None, steps, spec.horizon, spec.transition_dim)


def _gradient(ckpt: Checkpoint) -> SamplingLoop:
    """One evaluation of the value and its gradient: x' = x + FAR g. The denoiser is one tiny convolution by zero."""
    steps, spec = _one_step(ckpt, a=0.0, b=1.0, gx=FAR, guide_steps=1), ckpt.value.spec
    builder = Builder((spec.transition_dim, spec.horizon))
    nothing = builder.done(builder.conv(0, "nothing", spec.transition_dim, k=1))
    weights = {name: np.zeros(shape, np.float32) for name, shape in nothing.weights.items()}
    denoiser = Network(nothing, weights, TimeTables(np.zeros((1, 1, 0))), fuse(nothing))
    guide = network(ckpt.value, steps, spec.horizon, with_gradient=True)
    return SamplingLoop(denoiser, guide, steps, spec.horizon, spec.transition_dim)


def _one_step(ckpt: Checkpoint, **columns: float) -> StepTable:
    still = {"p": 0.0, "q": 1.0, "d": 0.0, "s": 0.0, "variance": 0.0, "sqrt_abar": 1.0, "sqrt_one_minus_abar": 0.0}
    return StepTable(np.array([ckpt.schedule.n_steps // 2]), **{**still, **columns})


LOOPS = {
    "step": _step,
    "gradient": _gradient,
    "plan": lambda ckpt: sampling_loop(ckpt, ddpm(ckpt.schedule)),
    "guided": lambda ckpt: sampling_loop(ckpt, ddpm(ckpt.schedule), guide=ckpt.guide),
}
