"""Our own backends, through the register that a Planner uses."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

from diffuser_fast import backends
from diffuser_fast.backends import Seeded, get
from diffuser_fast.backends.cuda import LAUNCHES
from diffuser_fast.backends.cuda import PRECISIONS as CUDA_PRECISIONS

from ..problem import Problem
from . import Candidate, Ready, Settings


@dataclass(frozen=True)
class Ours(Candidate):
    """A backend of the register, in one precision; of the CUDA engine, launched in one of its ways."""

    backend: str
    precision: str = "float32"
    launches: str | None = None
    ours: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The backend's; and what it does not do by itself: another precision than float32, one launch for a plan."""
        precision = None if self.precision == "float32" else self.precision
        launches = None if self.launches == "stages" else self.launches
        return " ".join(part for part in (self.backend, launches, precision) if part)

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        return backends.why_not(self.backend, problem.loop, settings.on.device)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """An engine for the batch. On a GPU it is timed with noise that it draws itself, and judged with the tape."""
        module, batch, plans = get(self.backend), problem.workload.batch, itertools.count()
        options = {"batch": batch, "precision": self.precision, "threads": settings.threads}
        options |= {"isa": settings.isa} if settings.isa and "isa" in module.OPTIONS else {}
        options |= {"launches": self.launches} if self.launches else {}
        engine = module.ready(problem.loop, device=settings.on.device, **options)

        def check():
            return engine(problem.inpainting, problem.tape, x=problem.x)

        if settings.clock == "cpu":
            return Ready(check, problem.answer, note=f"isa {engine.isa}")
        note = f"{engine.kernels} kernels" + (f", launched one by one: {engine.reason}" if engine.reason else "")
        return Ready(lambda: engine(problem.inpainting, Seeded(0, next(plans))), problem.answer, check=check, note=note)


def engines(settings: Settings) -> list[Ours]:
    """The backends of the clock's device in every precision they have, and every way of launching."""
    if settings.clock == "cpu":
        return _precisions("cpu")
    cuda = [] if settings.clock == "rehearsal" else [
        Ours("cuda", precision, launches) for launches, precision in itertools.product(LAUNCHES, CUDA_PRECISIONS)
    ]  # fmt: skip
    return [*_precisions("triton"), *cuda]


def _precisions(name: str) -> list[Ours]:
    try:
        precisions = get(name).PRECISIONS
    except ImportError:  # it takes part all the same, to say why it cannot
        precisions = ("float32",)
    return [Ours(name, precision) for precision in precisions]
