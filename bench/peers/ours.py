"""Our own backends, through the register that a Planner uses."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

from diffuser_fast import backends
from diffuser_fast.backends import Seeded, get

from ..problem import Problem
from . import Candidate, Ready, Settings


@dataclass(frozen=True)
class Ours(Candidate):
    """A backend of the register, in one precision."""

    backend: str
    precision: str = "float32"
    ours: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The backend's; and the precision, but for the one that claims to be exact."""
        return self.backend if self.precision == "float32" else f"{self.backend} {self.precision}"

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        return backends.why_not(self.backend, problem.loop, settings.on.device)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """An engine for the batch. On a GPU it is timed with noise that it draws itself, and judged with the tape."""
        module, batch, plans = get(self.backend), problem.workload.batch, itertools.count()
        options = {"batch": batch, "precision": self.precision, "threads": settings.threads}
        options |= {"isa": settings.isa} if settings.isa and hasattr(module, "isas") else {}
        engine = module.ready(problem.loop, device=settings.on.device, **options)

        def check():
            return engine(problem.inpainting, problem.tape, x=problem.x)

        if settings.clock == "cpu":
            return Ready(check, problem.answer, note=f"isa {engine.isa}")
        kernels = len(module.launch_list(problem.loop, batch=batch, precision=self.precision).launches)
        note = f"{kernels} kernels" + (f", launched one by one: {engine.reason}" if engine.reason else "")
        return Ready(lambda: engine(problem.inpainting, Seeded(0, next(plans))), problem.answer, check=check, note=note)


def engines(settings: Settings) -> list[Ours]:
    """The backend of the clock's device in every precision it has."""
    name = "cpu" if settings.clock == "cpu" else "triton"
    try:
        precisions = get(name).PRECISIONS
    except ImportError:  # it takes part all the same, to say why it cannot
        precisions = ("float32",)
    return [Ours(name, precision) for precision in precisions]
