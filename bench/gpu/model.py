"""What a plan should take, from the Programs and a few constants: a model, printed beside what was measured.

One kernel per op that computes, each waiting for the one before it, as nodes of one CUDA graph. A node costs the launch
of a dependent kernel, a fixed part (its prologue and epilogue), and a pipelined step for every 64 of its inner
dimension, in as many waves as its tiles of 64 x 32 need multiprocessors, two tiles to each. Nothing here is fitted to
our kernels: the launch is replaced by what constants.py measures, the rest are assumptions about an H200.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffuser_fast.core.loop import SamplingLoop
from diffuser_fast.core.passes import fuse
from diffuser_fast.core.program import Op, Program

VIEWS = {"concat", "slice"}  # no kernel: values are written where they are read
TAILS = {"act", "act_vjp", "norm_act_vjp", "step_bias"}  # done by the convolution whose result they read


@dataclass(frozen=True)
class Machine:
    """Microseconds. node: a dependent kernel in a graph; fixed: prologue and epilogue of a small one; step: 64 of the
    inner dimension of a tile; multiprocessors: how many work at the same time."""

    node: float = 1.3
    node_pdl: float = 0.8  # with programmatic dependent launch
    fixed: float = 1.5
    step: float = 0.15
    multiprocessors: int = 132


@dataclass(frozen=True)
class Stage:
    """One kernel: rows of its output per trajectory, columns, and the length of its sums (0: elementwise)."""

    rows: int
    columns: int
    depth: int


def stages(program: Program) -> list[Stage]:
    """The kernels of a fused Program, in order: a convolution takes along its tails and the 1x1 convolution that is its
    residual."""
    readers, found = program.consumers(), []
    bare: set[int] = set()  # results of convolutions that no tail has been joined to
    for op in program.ops:
        if op.kind in TAILS and op.ins[-1] in bare:
            bare.remove(op.ins[-1])
            bare |= set(op.outs) if op.kind == "step_bias" else set()
            continue
        bare |= set(op.outs) if op.kind == "conv" else set()
        if not (op.kind in VIEWS or _is_residual(op, readers.get(op.outs[0], []))):
            found.append(_stage(op, program))
    return found


def plan_stages(loop: SamplingLoop) -> list[Stage]:
    """All kernels of a plan: first noise, networks, every guide step's move, every row's update, ranking."""
    move = Stage(loop.horizon, loop.transition_dim, 0)
    denoise = [*stages(loop.denoiser.fused), move]
    climb = [] if loop.guide is None else [*stages(loop.guide.gradient), move]
    found = [move, *(stage for times in loop.steps.guide_steps for stage in [*climb * int(times), *denoise])]
    if loop.guide is not None and not loop.steps.guide_steps[-1]:
        found += stages(fuse(loop.guide.program))
    return found if loop.guide is None else [*found, Stage(1, 1, 0)]


def plan_us(loop: SamplingLoop, batch: int, machine: Machine) -> float:
    """Microseconds of a plan on the device."""
    return sum(_stage_us(stage, batch, machine) for stage in plan_stages(loop))


def _is_residual(op: Op, readers: list[Op]) -> bool:
    """A 1x1 convolution that is only ever added to another one's result."""
    if op.kind != "conv" or op.attrs["k"] != 1 or len(op.ins) > 1 or len(readers) != 1:
        return False
    return readers[0].kind.startswith("conv") and readers[0].ins[1:] == op.outs


def _stage(op: Op, program: Program) -> Stage:
    channels, length = program.shapes[op.outs[0]]
    if not op.kind.startswith("conv"):
        return Stage(length, channels, 0)
    # Of a transposed convolution only every stride-th tap meets each output.
    taps = op.attrs["k"] // (op.attrs["stride"] if op.attrs["transposed"] else 1)
    return Stage(length, channels, program.shapes[op.ins[0]][0] * max(taps, 1))


def _stage_us(stage: Stage, batch: int, machine: Machine) -> float:
    tiles = math.ceil(batch * stage.rows / 64) * math.ceil(stage.columns / 32)
    waves = max(1, math.ceil(tiles / (2 * machine.multiprocessors)))
    return machine.node + machine.fixed + machine.step * math.ceil(stage.depth / 64) * waves
