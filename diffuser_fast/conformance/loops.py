"""The case table of sampling loops: small networks with random weights through every sampler, guide and condition."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from ..core.conditions import Inpainting
from ..core.guidance import Guide
from ..core.loop import Network, PlanTables, Result, SamplingLoop, TimeTables, sampling_loop
from ..core.samplers import step_table
from ..core.schedule import Schedule
from ..core.spec import UNetSpec, ValueSpec
from .weights import random_checkpoint


@dataclass(frozen=True)
class LoopCase:
    """A sampling loop and what one plan is made from.

    gentle: noise that grows slowly, instead of the cosine schedule, whose last step magnifies an error in epsilon a
    hundredfold. n_steps, eta, more: the sampler's. horizon: H if not the trained one. mask: a name of ``MASKS``. g0:
    the gradient that is added to x0, in every denoising step but the last. own_tables: "shared", "each" or "added":
    time tables of this plan, other than the loop's. batch: N plans, ranked in groups of ``candidates`` (default: all).
    """

    name: str
    unet: UNetSpec
    value: ValueSpec | None = None
    guide: Guide | None = None
    n_train: int = 5
    gentle: bool = False
    prediction: str = "x0"
    clip: bool = False
    sampler: str = "ddpm"
    n_steps: int | None = None
    eta: float | None = None
    more: tuple[tuple[str, object], ...] = ()
    horizon: int | None = None
    mask: str = "first"
    g0: float = 0.0
    own_tables: str | None = None
    batch: int = 8
    candidates: int | None = None
    seed: int = 0

    def seeded(self, seed: int) -> LoopCase:
        """The same case with other noise and conditions; the weights stay."""
        return replace(self, seed=seed)

    @property
    def loop(self) -> SamplingLoop:
        return _loop(replace(self, seed=0))

    @cached_property
    def inpainting(self) -> Inpainting:
        """What is given of the trajectory."""
        rng, (horizon, depth) = self._rng("inpainting"), (self.loop.horizon, self.loop.transition_dim)
        mask = np.zeros((horizon, depth), bool)
        each = MASKS[self.mask](mask)
        numbers = rng.normal(0, 0.7, (self.batch if each else 1, horizon, depth))
        return Inpainting(mask, np.where(mask, numbers, 0))

    @cached_property
    def tape(self) -> NDArray[np.float32]:
        """Noise ``[R + 1, N, H, D]``."""
        shape = (self.loop.rows + 1, self.batch, self.loop.horizon, self.loop.transition_dim)
        return self._rng("tape").normal(size=shape).astype(np.float32)

    @cached_property
    def tables(self) -> PlanTables | None:
        """Time tables of this plan: the loop's, disturbed; or None, which stands for the loop's own."""
        if self.own_tables is None:
            return None
        rng, guide = self._rng("tables"), self.loop.guide

        def disturbed(network: Network) -> TimeTables:
            rows, _, width = network.tables.per_step.shape
            samples = self.batch if self.own_tables == "each" else 1
            added = rng.normal(0, 0.3, (self.batch, width)) if self.own_tables == "added" else None
            return TimeTables(network.tables.per_step + rng.normal(0, 0.5, (rows, samples, width)), added)

        return PlanTables(disturbed(self.loop.denoiser), None if guide is None else disturbed(guide))

    def plan(self, engine, **overrides) -> Result:
        """One call of an engine on this case, chain included; ``overrides`` are the call's own arguments."""
        arguments = {"tables": self.tables, "candidates": self.candidates, "chain": True, **overrides}
        return engine(arguments.pop("inpainting", self.inpainting), arguments.pop("noise", self.tape), **arguments)

    def _rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng([zlib.crc32(f"{self.name} {what}".encode()), self.seed])


@cache
def _loop(case: LoopCase) -> SamplingLoop:
    gentle = Schedule.from_betas(np.linspace(0.25, 2, case.n_train) / case.n_train) if case.gentle else None
    checkpoint = random_checkpoint(
        case.unet, case.value, n_train=case.n_train, schedule=gentle,
        action_dim=case.unet.predicted_dim if case.unet.local else 0,
        prediction=case.prediction, clip_denoised=case.clip, normalizer=None, seed=zlib.crc32(case.name.encode()),
    )  # fmt: skip
    steps = step_table(
        case.sampler, checkpoint.schedule, prediction=case.prediction, n_steps=case.n_steps,
        **({} if case.eta is None else {"eta": case.eta}), **dict(case.more),
    )  # fmt: skip
    loop = sampling_loop(checkpoint, steps, horizon=case.horizon, guide=case.guide)
    if case.g0:
        g0 = np.where(np.arange(loop.rows) < loop.rows - 1, case.g0, 0.0)
        loop = replace(loop, steps=replace(loop.steps, g0=g0))
    return loop


def single_step(loop: SamplingLoop, k: int) -> SamplingLoop:
    """Denoising step k alone, as a loop of one step: to judge it by itself, from a given x."""
    return _steps(loop, slice(k, k + 1))


def last_steps(loop: SamplingLoop, count: int) -> SamplingLoop:
    """Its last denoising steps, those where noise, guide and ranking end; the loop itself if it has no more."""
    return loop if loop.rows <= count else _steps(loop, slice(loop.rows - count, None))


def _steps(loop: SamplingLoop, which: slice) -> SamplingLoop:
    def cut(network: Network | None) -> Network | None:
        return network and replace(network, tables=network.tables.steps(which))

    return replace(loop, denoiser=cut(loop.denoiser), guide=cut(loop.guide), steps=loop.steps.only(which))


def _mask(*where: tuple[int, slice], each: bool = False):
    """Marks (time, dimensions) in a mask ``[H, D]``; ``each``: every plan of the batch has its own values."""

    def mark(mask: NDArray[np.bool_]) -> bool:
        for time, dims in where:
            mask[time, dims] = True
        return each

    return mark


_OBS, _ALL = slice(2, None), slice(None)  # as if there were two actions
MASKS = {
    "nothing": _mask(),
    "first": _mask((0, _OBS)),
    "first and last": _mask((0, _OBS), (-1, _OBS)),
    "parts": _mask((0, slice(2, 3)), (1, slice(3, None, 2)), (-2, slice(2, 4))),
    "each its own": _mask((0, _OBS), (2, slice(3, None)), each=True),
    "the last four": _mask((_ALL, _OBS), each=True),
    "an action": _mask((0, _ALL), (1, slice(0, 1))),
    "everything": _mask((_ALL, _ALL)),
}


@cache
def loop_cases() -> tuple[LoopCase, ...]:
    """The case table of loops. Names are unique, and seeds of a case give it other noise and other conditions.

    No GroupNorm here has fewer than four numbers in a group: with two, the norm of two that happen to be close turns
    rounding into a lottery in which the copies of one plan tell little about the next. The case table of ops has those.
    """
    hopper = {"horizon": 32, "transition_dim": 14, "dim": 16}
    cheetah = {"horizon": 4, "transition_dim": 23, "dim": 16, "dim_mults": (1, 4, 8)}
    maze = {"horizon": 32, "transition_dim": 6, "dim": 16, "dim_mults": (1, 4, 8)}
    small = {"horizon": 8, "transition_dim": 6, "dim": 16, "dim_mults": (1, 2)}
    odd = {"transition_dim": 7, "dim": 16, "dim_mults": (1, 2, 8)}
    unet, value = UNetSpec(**small), ValueSpec(**{**small, "dim_mults": (1, 8)}, groups=4)
    strong = Guide(scale=0.5, n_steps=2, t_stopgrad=0)
    strided = {"n_train": 20, "n_steps": 4}

    def case(name: str, *args, **kwargs) -> LoopCase:
        return LoopCase(name, *args, **kwargs)

    cases = (
        # As the named workloads sample, at half their width.
        case("hopper", UNetSpec(**hopper), ValueSpec(**hopper), Guide(0.1, 2, 2), n_train=5),
        case("hopper unguided", UNetSpec(**hopper), n_train=8, mask="nothing"),
        case("halfcheetah", UNetSpec(**cheetah, attention=True), ValueSpec(**cheetah), Guide(0.001, 2, 4), n_train=6),
        case("maze2d", UNetSpec(**maze), n_train=8, clip=True, mask="first and last", batch=2),
        case(
            "hopper at full width",
            UNetSpec(**{**hopper, "dim": 32}),
            ValueSpec(**{**hopper, "dim": 32}),
            Guide(),
            n_train=2,
            batch=5,
        ),
        case(
            "maze2d large",
            UNetSpec(**maze),
            horizon=384,
            clip=True,
            n_train=16,
            n_steps=2,
            mask="first and last",
            batch=1,
        ),
        # Predictions and clipping.
        case("x0, clipped", unet, clip=True),
        case("epsilon", unet, prediction="epsilon"),
        case("epsilon, clipped", unet, prediction="epsilon", clip=True, gentle=True),
        case("epsilon, clipped, guided", unet, value, strong, prediction="epsilon", clip=True, gentle=True),
        # Guides.
        case("one guide step", unet, value, Guide(0.5, 1, 0)),
        case("three guide steps", unet, value, Guide(0.3, 3, 0)),
        case("ranked by value alone", unet, value, Guide(n_steps=0)),
        case("guide not scaled by the variance", unet, value, Guide(0.05, 2, 3, scale_by_variance=False)),
        case("value without a middle", unet, ValueSpec(**small, middle="none"), strong),
        case("gradient added to x0", unet, value, Guide(n_steps=0), g0=0.2),
        case("gradient added to x and to clipped x0", unet, value, strong, g0=0.2, clip=True),
        case("situations with candidates", unet, value, strong, batch=9, candidates=3, mask="each its own"),
        # Widths, depths and lengths.
        case("five levels", UNetSpec(16, 5, dim=16, dim_mults=(1, 2, 2, 2, 4)), n_train=4),
        case("one level", UNetSpec(3, 4, dim=16, dim_mults=(1,))),
        case("dim 24", UNetSpec(12, 9, dim=24, dim_mults=(1, 2)), ValueSpec(12, 9, dim=24, dim_mults=(1, 8)), strong),
        case("dim 48", UNetSpec(10, 8, dim=48, dim_mults=(1, 2)), n_train=4),
        case("kernel 3, groups 4", UNetSpec(8, 6, dim=12, dim_mults=(1, 3), kernel_size=3, groups=4)),
        case("narrow", UNetSpec(2, 1, dim=8, dim_mults=(1, 2), groups=2), mask="nothing", batch=1),
        case("value of odd lengths, H 20", UNetSpec(20, **odd), ValueSpec(20, **odd), strong, n_train=4),
        case("value of odd lengths, H 12", UNetSpec(12, **odd), ValueSpec(12, **odd, middle="none"), strong, n_train=4),
        case("another horizon", unet, horizon=14),
        case("attention", UNetSpec(**small, attention=True), n_train=4),
        case("attention in every block", UNetSpec(**small, block_attention=True), n_train=4),
        # Samplers.
        case("one denoising step", unet, value, strong, n_train=1),
        case("ddpm, strided", unet, value, strong, **strided),
        case("ddim", unet, sampler="ddim", **strided),
        case("ddim, eta 1, guided", unet, value, strong, sampler="ddim", eta=1.0, **strided),
        case("ddim, epsilon, clipped", unet, sampler="ddim", prediction="epsilon", clip=True, gentle=True, **strided),
        case("dpm_solver_pp_2m", unet, sampler="dpm_solver_pp_2m", **strided),
        case(
            "dpm_solver_pp_2m, clipped, guided", unet, value, strong, sampler="dpm_solver_pp_2m", clip=True, **strided
        ),
        case(
            "ddim, noise of the unclipped x0",
            unet,
            sampler="ddim",
            prediction="epsilon",
            clip=True,
            gentle=True,
            more=(("direction", "unclipped"), ("grid", "leading")),
            **strided,
        ),
        case(
            "a grid that ends in noise, ranked at its end",
            unet,
            value,
            Guide(0.3, 1, 0, factor="noise_over_signal", on="x0"),
            sampler="ddim",
            eta=1.0,
            clip=True,
            more=(("grid", "truncated"), ("floor", 1e-8), ("final", True)),
            **strided,
        ),
        case("guide by exp of half the deviation", unet, value, Guide(0.05, 2, 2, factor="exp_half_std")),
        # A condition, which scales and shifts.
        case(
            "FiLM of a condition",
            UNetSpec(8, 6, dim=16, dim_mults=(1, 2), condition=5, film=True),
            own_tables="added",
            batch=5,
            n_train=4,
        ),
        case(
            "a condition along time",
            UNetSpec(8, 6, dim=16, dim_mults=(1, 2), given=4, local=True, film=True),
            mask="the last four",
            n_train=4,
        ),
        # What is given.
        case("parts of observations", unet, value, strong, mask="parts"),
        case("each its own conditions", unet, mask="each its own"),
        case("an action is given", unet, mask="an action"),
        case("everything is given", unet, value, strong, mask="everything", n_train=2),
        case("tables of this plan", unet, value, strong, own_tables="shared"),
        case("tables of each trajectory", unet, value, strong, own_tables="each", batch=5),
        case("tables added for each trajectory", unet, value, strong, own_tables="added", batch=5),
        case("seventeen plans", unet, value, strong, n_train=3, batch=17, mask="each its own"),
    )
    assert len({case.name for case in cases}) == len(cases)
    return cases
