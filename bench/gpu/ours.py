"""The Triton backend through the door that a Planner uses."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from diffuser_fast import backends
from diffuser_fast.backends import Seeded
from diffuser_fast.planner import Planner

from ..problem import Problem
from .device import Device
from .endtoend import Ready, conditions

BACKEND = "triton"


@dataclass(frozen=True)
class Ours:
    """One precision. Timed with noise that it draws itself; judged with the problem's."""

    precision: str
    broken: str | None = None  # why it may not be run in this process: in one of its own it failed
    seconds: float = 20.0
    ours: bool = True

    @property
    def name(self) -> str:
        """As in the tables."""
        return f"{BACKEND} {self.precision}"

    def why_not(self, problem: Problem, device: Device) -> str | None:
        """What the backend itself says, or what its own process died of."""
        return self.broken or backends.why_not(BACKEND, problem.loop, device.name)

    def ready(self, problem: Problem, device: Device) -> Ready:
        """A planner, and the engine in it."""
        planner = Planner(
            problem.checkpoint, BACKEND, batch_size=problem.workload.batch, precision=self.precision,
            guide=None if problem.loop.guide is None else "auto", device=device.name,
        )  # fmt: skip
        engine, plans = planner.engine, itertools.count()
        return Ready(
            check=lambda: problem.answer(engine(problem.known, problem.tape)),
            run=lambda: engine(problem.known, Seeded(0, next(plans))),
            plan=lambda obs: planner.plan(conditions(problem, obs)),
            note=f"plain launches: {engine.reason}" if engine.reason else "",
        )


def precisions() -> tuple[str, ...]:
    """All that the backend offers; float32 where it cannot even be loaded, for the row that says why."""
    try:
        return tuple(backends.get(BACKEND).PRECISIONS)
    except (ImportError, ValueError):
        return ("float32",)
