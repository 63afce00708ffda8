"""What a backend is: a module with a name, what it offers, ``why_not`` and ``ready``, which gives an Engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.conditions import Inpainting
from ..core.loop import PlanTables, Result, SamplingLoop
from ..core.menu import Menu
from ..core.program import Program
from ..core.verify import Support


class BusyError(RuntimeError):
    """Another thread is planning with this engine or Planner: each belongs to one call at a time."""

    def __init__(self, what: str = "engine") -> None:
        super().__init__(f"{what}: another thread is planning with it; give each thread its own, or take turns")


class CancelledError(RuntimeError):
    """The plan was cancelled between two denoising steps; the next one may be asked for at once."""

    def __init__(self) -> None:
        super().__init__("the plan was cancelled between two denoising steps")


@dataclass(frozen=True)
class Seeded:
    """Noise that the engine draws itself, addressed by (seed, plan, entry, sample, element); see core/noise.py.

    plan: the number of the first situation's plan; that of situation e, whose trajectories begin at ``e * candidates``,
    is ``plan + e``, its samples are 0 to candidates - 1.
    """

    seed: int
    plan: int


@dataclass(frozen=True, eq=False)
class Deadline:
    """When a plan has to end, and what its rows cost.

    at: nanoseconds of CLOCK_MONOTONIC (``time.monotonic_ns``). cost, alone_cost: ``[R]`` nanoseconds of each row for a
    group of trajectories, and where one thread does what threads share otherwise. menu: what may be run instead.
    once: nanoseconds that the first step takes beside its row.
    clock: for tests, the time before each step instead of the clock's.
    """

    at: int
    cost: NDArray[np.int64]
    alone_cost: NDArray[np.int64]
    menu: Menu
    clock: NDArray[np.int64] | None = None
    once: int = 0


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which rows of the loop a plan runs: int32 ``[1 or groups, most]``, in order, -1 after the last of each.

    skipped: entries of noise that a plan leaves out which starts on the way: the noise of its i-th row is entry
    ``skipped + i + 1``.
    """

    rows: NDArray[np.int32]
    deadline: Deadline | None = None
    skipped: int = 0

    def __post_init__(self) -> None:
        rows = np.atleast_2d(np.ascontiguousarray(self.rows, np.int32))
        object.__setattr__(self, "rows", rows)


# Or a tape, float32 [R + 1, N, H, D]: entry 0 the first noise, entry k + 1 that of denoising step k.
Noise = Seeded | NDArray


class Engine(Protocol):
    """A SamplingLoop made ready for one device and one batch of N plans. A call waits once, at its end."""

    def __call__(
        self,
        inpainting: Inpainting,
        noise: Noise,
        *,
        x: NDArray | None = None,
        start: int = 0,
        tables: PlanTables | None = None,
        candidates: int | None = None,
        chain: bool = False,
        schedule: Schedule | None = None,
    ) -> Result:
        """Denoise N plans at once.

        inpainting: values are ``[1, H, D]`` or ``[N, H, D]``. x: float32 ``[N, H, D]``, the state at entry of denoising
        step ``start`` (warm start, restart); otherwise the first noise. tables: time-embedding tables of this plan, of
        all trajectories or of each, where they depend on a condition (``core/loop.py``); ValueError if they do not fit.
        candidates: plans are ranked within groups of this many (default N). A number that is not finite raises
        FloatingPointError naming the denoising step, a call while another is under way BusyError. schedule: rows of the
        loop that are run instead of all (``Backend.SCHEDULES``); the result says which rows were run.
        """
        ...

    def first_noise(self, noise: Seeded, candidates: int) -> NDArray[np.float32]:
        """Entry 0 of it, ``[N, H, D]``, as the engine draws it: what a plan that starts on the way is noised with.

        An engine may be without it: then they are the numbers of core/noise.py.
        """
        ...

    def cancel(self) -> None:
        """End the plan at hand after its denoising step, with CancelledError, where an engine can; for any thread."""
        ...


class Backend(Protocol):
    """The module-level interface of every backend.

    NAME: as in the registry. PRECISIONS: what ``ready`` takes. INVARIANT: those in which a plan's bits do not depend on
    what it is planned with. OPTIONS: keyword arguments of ``ready`` that not every backend has. SUPPORT: what it has
    kernels for. SCHEDULES: of a plan, whether it may bring its own "rows", and a "deadline".
    """

    NAME: str
    PRECISIONS: Collection[str]
    INVARIANT: frozenset[str]
    OPTIONS: frozenset[str]
    SUPPORT: Support
    SCHEDULES: frozenset[str]

    def isas(self) -> list[str]:
        """The instruction sets that it can be told to use (``ready(isa=...)``), narrowest first; or none."""
        ...

    def why_not(self, loop: SamplingLoop | None, device: str | None) -> str | None:
        """A sentence a person understands, or None if this backend can run the loop here."""
        ...

    def ready(
        self,
        loop: SamplingLoop,
        *,
        device: str | None,
        batch: int,
        precision: str,
        threads: int | None = None,
    ) -> Engine:
        """All that happens at load: lowering, packing, memory planning, capture."""
        ...

    def evaluate(
        self, program: Program, weights: Mapping[str, NDArray], inputs: Mapping[str, NDArray],
        table: NDArray | None = None, *, precision: str, threads: int | None = None,
    ) -> dict[str, NDArray]:  # fmt: skip
        """One Program by itself, fused or not; inputs, outputs: ``[B, C, H]`` by name; table: ``[S]`` or ``[B, S]``.

        For tests. Further keywords say where, as those of ``ready`` do: ``device``, ``isa``.
        """
        ...
