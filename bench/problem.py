"""A workload made into arrays: networks with random weights, inputs by seed, and what a right answer is made of.

numpy only: a process that runs one candidate loads nothing that the candidate does not (memory.py counts on it).
"""

from __future__ import annotations

import zlib
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

from .workloads import NetworkShape, Workload

# An engine runs whole loops. Its gradient is read from a loop that moves x by so much of it that x itself is lost in
# the rounding: x' = x + 2^30 g, g = (x' - x) / 2^30, exact to half a unit in the last place of the largest g.
FAR = 2.0**30


@dataclass(frozen=True, eq=False)
class Problem:
    """What every candidate is given, float32.

    loop: for plans the whole loop; for "step" and "gradient" one row of it, so that engines run these too. x: ``[B, H,
    D]``, where a single row starts (None for plans, which start from the tape). tape: ``[R + 1, B, H, D]``.
    """

    workload: Workload
    checkpoint: Checkpoint
    loop: SamplingLoop
    known: Inpainting
    tape: NDArray[np.float32]
    x: NDArray[np.float32] | None

    def answer(self, result: Result) -> dict[str, NDArray]:
        """What an engine's result says: ``y``; or ``value`` and ``gradient``; or ``x`` and, guided, ``value``."""
        if self.workload.kind == "step":
            return {"y": result.x}
        if self.workload.kind == "gradient":
            moved = np.asarray(result.x, np.float64) - self.x
            return {"value": result.values, "gradient": moved / FAR}
        return {"x": result.x} if self.loop.guide is None else {"x": result.x, "value": result.values}

    @property
    def flops(self) -> int:
        """Dense floating-point operations of one call, all trajectories together (see core/ops.py)."""
        return self.workload.batch * sum(times * program.flops for times, program in self._evaluations())

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that one call reads at least: once per evaluation, for however many trajectories."""
        return sum(times * _weight_bytes(program) for times, program in self._evaluations())

    def _evaluations(self) -> list[tuple[int, Program]]:
        """How often each network is evaluated in one call."""
        denoiser, guide, kind = self.loop.denoiser.program, self.loop.guide, self.workload.kind
        if kind == "gradient":
            return [(1, vjp(guide.program))]
        rows = [(self.loop.rows, denoiser)]
        if guide is None:
            return rows
        at_end = 0 if self.loop.steps.guide_steps[-1] else 1
        return [*rows, (int(self.loop.steps.guide_steps.sum()), vjp(guide.program)), (at_end, guide.program)]


def problem(workload: Workload, seed: int = 0) -> Problem:
    """The same arrays for the same workload and seed."""
    shape, batch, ckpt = workload.network, workload.batch, checkpoint(workload.network, seed)
    loop = LOOPS[workload.kind](ckpt)
    rng = np.random.default_rng([seed, zlib.crc32(workload.name.encode())])
    sizes = (batch, loop.horizon, loop.transition_dim)
    whole = workload.kind in ("plan", "guided")
    if whole:
        tape = rng.normal(size=(loop.rows + 1, *sizes)).astype(np.float32)
        return Problem(workload, ckpt, loop, _known(shape, rng), tape, None)
    x = rng.normal(size=sizes).astype(np.float32)
    return Problem(workload, ckpt, loop, no_inpainting(*sizes[1:]), np.zeros((2, *sizes), np.float32), x)


@lru_cache(maxsize=2)  # workloads come network by network
def checkpoint(shape: NetworkShape, seed: int = 0) -> Checkpoint:
    """A checkpoint of that shape with random weights."""
    sizes = {
        "horizon": shape.horizon, "transition_dim": shape.transition_dim, "dim": shape.dim,
        "dim_mults": shape.dim_mults, "groups": shape.groups,
    }  # fmt: skip
    return random_checkpoint(
        UNetSpec(**sizes, attention=shape.attention),
        ValueSpec(**sizes) if shape.guide else None,
        action_dim=shape.action_dim,
        seed=seed,
        n_train=shape.steps,
        clip_denoised=shape.clip,
        guide=shape.guide,
    )


def _step(ckpt: Checkpoint) -> SamplingLoop:
    """One evaluation of the denoiser in the middle of the schedule: x' = net(x)."""
    row, spec = _one_row(ckpt, a=1.0, b=0.0), ckpt.unet.spec
    return SamplingLoop(network(ckpt.unet, row, spec.horizon), None, row, spec.horizon, spec.transition_dim)


def _gradient(ckpt: Checkpoint) -> SamplingLoop:
    """One evaluation of the value and its gradient: x' = x + FAR g. The denoiser is one tiny convolution by zero."""
    row, spec = _one_row(ckpt, a=0.0, b=1.0, gx=FAR, guide_steps=1), ckpt.value.spec
    builder = Builder((spec.transition_dim, spec.horizon))
    nothing = builder.done(builder.conv(0, "nothing", spec.transition_dim, k=1))
    weights = {name: np.zeros(shape, np.float32) for name, shape in nothing.weights.items()}
    denoiser = Network(nothing, weights, TimeTables(np.zeros((1, 1, 0))), fuse(nothing))
    guide = network(ckpt.value, row, spec.horizon, with_gradient=True)
    return SamplingLoop(denoiser, guide, row, spec.horizon, spec.transition_dim)


def _one_row(ckpt: Checkpoint, **columns: float) -> StepTable:
    t = np.array([ckpt.schedule.n_steps // 2])
    still = {
        "p": 0.0,
        "q": 1.0,
        "d": 0.0,
        "s": 0.0,
        "variance": 0.0,
        "sqrt_abar": 1.0,
        "sqrt_one_minus_abar": 0.0,
    }
    return StepTable(t, **{**still, **columns})


LOOPS = {
    "step": _step,
    "gradient": _gradient,
    "plan": lambda ckpt: sampling_loop(ckpt, ddpm(ckpt.schedule)),
    "guided": lambda ckpt: sampling_loop(ckpt, ddpm(ckpt.schedule), guide=ckpt.guide),
}


def _known(shape: NetworkShape, rng: np.random.Generator) -> Inpainting:
    mask = np.zeros((shape.horizon, shape.transition_dim), bool)
    mask[list(shape.known), shape.action_dim :] = True
    return Inpainting(mask, np.where(mask, rng.normal(0, 0.5, mask.shape), 0)[None])


def _weight_bytes(program: Program) -> int:
    """Every op reads its own: a gradient reads the convolutions twice, forward and back."""
    return sum(op_weight_bytes(op, program.weights) for op in program.ops)
