"""The sampling loop as one record: everything an engine needs to turn noise into plans."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint, Weights
from .cost import Cost
from .cost_network import with_cost
from .guidance import Guide, guided
from .lower import lower
from .menu import Menu
from .passes import Dense, branch_weights, branches, fuse, time_tables, vjp
from .program import Program
from .samplers import StepTable
from .scalars import whole
from .spelling import setting
from .verify import Support, unsupported


@dataclass(frozen=True, eq=False)
class TimeTables:
    """Time-embedding tables: what a network sees of the denoising step, and of a condition if it has one; float32.

    per_step: ``[R, 1 or N, S]``; per_sample: ``[N, S]`` or None. In denoising step k, sample n sees the numbers
    ``per_step[k, n or 0] + per_sample[n]``: S columns, from which step_bias and its like take theirs. dtype: float64
    for the reference alone, where it is itself compared in float64.
    """

    per_step: NDArray[np.float32]
    per_sample: NDArray[np.float32] | None = None
    dtype: type = np.float32

    def __post_init__(self) -> None:
        for name, axes in (("per_step", 3), ("per_sample", 2)):
            array = getattr(self, name)
            if array is None and name == "per_sample":
                continue
            array = np.ascontiguousarray(array, self.dtype)
            if array.ndim != axes:
                raise ValueError(f"tables: {name}: found shape {list(array.shape)}, expected {axes} axes")
            object.__setattr__(self, name, array)

    def check(self, name: str, rows: int, samples: int, width: int) -> None:
        """ValueError unless they are for R denoising steps, one or N samples, and S columns."""
        found = self.per_step.shape
        if found[0] != rows or found[1] not in (1, samples) or found[2] != width:
            raise ValueError(
                f"tables: {name}.per_step: found shape {list(found)}, expected [{rows}, 1 or {samples}, {width}]"
            )
        if self.per_sample is not None and self.per_sample.shape != (samples, width):
            found = list(self.per_sample.shape)
            raise ValueError(f"tables: {name}.per_sample: found shape {found}, expected [{samples}, {width}]")

    def step(self, k: int) -> NDArray[np.float32]:
        """``[1 or N, S]``: what is seen in denoising step k."""
        return self.per_step[k] if self.per_sample is None else self.per_step[k] + self.per_sample

    def steps(self, which: slice) -> TimeTables:
        """The tables of some denoising steps."""
        return replace(self, per_step=self.per_step[which])


@dataclass(frozen=True, eq=False)
class PlanTables:
    """The time-embedding tables of one plan, where they are not the loop's own; guide: None stands for those."""

    denoiser: TimeTables
    guide: TimeTables | None = None

    def steps(self, which: slice) -> PlanTables:
        """The tables of some denoising steps."""
        return PlanTables(self.denoiser.steps(which), None if self.guide is None else self.guide.steps(which))


@dataclass(frozen=True, eq=False)
class Network:
    """program: unfused, ``x [D, H] -> y``. weights: by name, float32. tables: per_step ``[R, 1, S]``, per_sample None.

    ``fused`` is the same function for engines; ``gradient`` (guides only) is ``(x, dy) -> (y, dx)``, fused.
    condition: what conditions ``[N, C]`` add to the tables, ``[N, S]``; None if the network takes none. gains: of its
    branches (passes/branches.py), all of which but the last are without the condition.
    """

    program: Program
    weights: MappingProxyType[str, NDArray[np.float32]]
    tables: TimeTables
    fused: Program
    gradient: Program | None = None
    condition: Dense | None = None
    gains: tuple[float, ...] = (1.0,)

    def conditioned(self, condition: NDArray) -> TimeTables:
        """Its tables for N samples under conditions ``[N, C]``."""
        added = self.condition(condition)
        without = np.zeros((len(added), added.shape[1] * (len(self.gains) - 1)))
        return replace(self.tables, per_sample=np.concatenate((without, added), axis=1))


@dataclass(frozen=True, eq=False)
class SamplingLoop:
    """One plan, from noise to trajectory. An engine takes x, the inpainted first noise, through the denoising steps:

    for each guide step: y, g = value and gradient of the guide at x;  x += gx * g;  x inpainted
    the network (where q is not 0), x0 = p x + q net(x);  x0 += g0 * gradient at x;  unclipped x0 = x0;  x0 clipped;
    x = a x0 + u unclipped x0 + b x + d previous_x0 + s noise;  x inpainted.
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
    table_steps: NDArray[np.int32] | None = None  # [R], which step of the time tables each row sees; None: its own

    def table_step(self, k: int) -> int:
        """Which step of the time-embedding tables row k sees."""
        return k if self.table_steps is None else int(self.table_steps[k])

    @property
    def table_count(self) -> int:
        """How many steps the time-embedding tables have."""
        return self.rows if self.table_steps is None else int(self.table_steps.max()) + 1

    @property
    def rows(self) -> int:
        """R, the number of denoising steps."""
        return self.steps.rows

    def unsupported(self, support: Support) -> str | None:
        """Which op of its networks an engine lacks, in a sentence, or None."""
        programs = {"denoiser": self.denoiser.fused}
        if self.guide is not None:
            programs |= {"the guide's gradient": self.guide.gradient, "guide": self.guide.fused}
        for name, program in programs.items():
            if reason := unsupported(program, support):
                return f"{name}: {reason}"
        return None

    def plan_tables(self, tables: PlanTables | None, samples: int) -> tuple[TimeTables, TimeTables | None]:
        """What the denoiser and the guide see in a plan of N samples; ValueError if ``tables`` do not fit."""
        net = self.denoiser.tables if tables is None else tables.denoiser
        guide = None if self.guide is None else self.guide.tables
        if tables is not None and tables.guide is not None:
            if self.guide is None:
                raise ValueError("tables: given for a guide, and the loop has none")
            guide = tables.guide
        net.check("denoiser", self.table_count, samples, self.denoiser.program.table_width)
        if guide is not None:
            guide.check("guide", self.table_count, samples, self.guide.program.table_width)
        return net, guide


@dataclass(frozen=True, eq=False)
class Result:
    """What an engine returns; all float32, normalised, in sample order.

    x: ``[N, H, D]``; values: ``[N]``; order: int64 ``[N]``, within each group of candidates the indices (of the group)
    best first; chain: ``[N, R + 1, H, D]`` or None, entry 0 the inpainted first noise; rows: of a plan with a schedule,
    ``[groups, most]``, the rows of the loop that were run for each group of samples, -1 after the last; expected: of
    one with a deadline, nanoseconds of its clock, int64 ``[groups]``: when each group was expected to end, when that
    could last be changed.
    """

    x: NDArray[np.float32]
    values: NDArray[np.float32]
    order: NDArray[np.int64]
    chain: NDArray[np.float32] | None = None
    rows: NDArray[np.int32] | None = None
    expected: NDArray[np.int64] | None = None


def not_finite(steps: StepTable, k: int) -> FloatingPointError:
    """What an engine raises when x is no longer finite after denoising step k."""
    return FloatingPointError(f"denoising step {k} (t = {steps.t[k]}): the plan is no longer finite")


def ranking(values: NDArray, candidates: int) -> NDArray[np.int64]:
    """Order of each group of ``candidates`` consecutive plans: by value, descending, stable: ``[N]``."""
    groups = np.asarray(values).reshape(-1, candidates)
    return np.argsort(-groups, axis=1, kind="stable").reshape(-1)


def sampling_loop(
    checkpoint: Checkpoint, steps: StepTable, *, horizon: int | None = None, guide: Guide | None = None,
    cost: Cost | None = None, like: SamplingLoop | None = None,
) -> SamplingLoop:  # fmt: skip
    """A checkpoint, a sampler's table and a guide (None: unguided) -> the loop. ValueError if they do not fit.

    cost: what the guide's value is less by. like: the loop of all these at another horizon: time-embedding tables do
    not depend on it, so they are shared.
    """
    horizon = checkpoint.unet.spec.horizon if horizon is None else whole("horizon", horizon)
    depth = checkpoint.unet.spec.transition_dim
    checkpoint.unet.spec.check_horizon(horizon)
    value = None
    if guide is not None:
        if checkpoint.value is None and cost is None:
            cure = setting("value", "...", "PATH", call="load(path, {})")
            raise ValueError(f"guide: the checkpoint has no value network ({cure} adds one)")
        steps = guided(steps, guide)
        value = _guide_network(checkpoint, cost, steps, horizon, like and like.guide)
    elif cost is not None:
        raise ValueError("cost: there is no guide to follow it")
    bound = np.full(depth, checkpoint.clip_range, np.float32)
    return SamplingLoop(
        denoiser=network(checkpoint.unet, steps, horizon, like=like and like.denoiser, gains=checkpoint.gains),
        guide=value,
        steps=steps,
        horizon=horizon,
        transition_dim=depth,
        clip=(-bound, bound) if checkpoint.clip_denoised else None,
    )


def menu_loop(checkpoint: Checkpoint, loop: SamplingLoop, menu: Menu) -> SamplingLoop:
    """The loop with all rows of a menu, of which a plan's schedule takes some. Weights and programs are shared."""
    seen = menu.steps.only(menu.seen)
    nets = {"denoiser": (checkpoint.unet, loop.denoiser), "guide": (checkpoint.value, loop.guide)}
    made = {
        name: replace(net, tables=_tables(weights, seen, loop.horizon, net.gains))
        for name, (weights, net) in nets.items()
        if net is not None
    }
    return replace(loop, steps=menu.steps, table_steps=menu.table_steps, **made)


def _guide_network(
    checkpoint: Checkpoint, cost: Cost | None, steps: StepTable, horizon: int, like: Network | None
) -> Network:
    """The value, less the cost."""
    value, weights = None, {}
    if checkpoint.value is not None:
        checkpoint.value.spec.check_horizon(horizon)
        value = network(checkpoint.value, steps, horizon, with_gradient=cost is None, like=like)
        weights = value.weights
        if cost is None:
            return value
    program, own = with_cost(value and value.program, cost, checkpoint, horizon)
    return Network(
        program, MappingProxyType({**weights, **own}), value.tables if value else _tables(None, steps, horizon),
        fuse(program), fuse(vjp(program)),
    )  # fmt: skip


def _tables(weights: Weights | None, steps: StepTable, horizon: int, gains: tuple[float, ...] = (1.0,)) -> TimeTables:
    """Of a network; what is a cost alone sees nothing of the step."""
    if weights is None:
        return TimeTables(np.zeros((len(steps.seen), 1, 0)))
    return network(weights, steps, horizon, gains=gains).tables


def network(
    weights: Weights, steps: StepTable, horizon: int, *, with_gradient: bool = False, like: Network | None = None,
    gains: tuple[float, ...] = (1.0,),
) -> Network:  # fmt: skip
    """A network made ready for a sampler: lowered, its time tables computed, its gradient derived if asked for.

    gains: of the branches that it is evaluated in.
    """
    lowered = lower(weights.spec, horizon)
    if like is None:
        rows = time_tables(lowered.time, weights.arrays, steps.seen, weights.spec.time)[:, None]
        tables = TimeTables(np.tile(rows, (1, 1, len(gains))))
        condition = None if lowered.condition is None else Dense(lowered.condition, weights.arrays)
    else:
        tables, condition = like.tables, like.condition
    net, used = lowered.net, {name: weights.arrays[name] for name in lowered.net.weights}
    if gains != (1.0,):
        net, used = branches(net, gains), branch_weights(net, used, gains) if like is None else dict(like.weights)
    return Network(
        program=net,
        weights=MappingProxyType(used),
        tables=tables,
        fused=fuse(net),
        gradient=fuse(vjp(net)) if with_gradient else None,
        condition=condition,
        gains=gains,
    )
