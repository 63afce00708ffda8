"""What is judged: a backend that can run here, with one instruction set of those it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from numpy.typing import NDArray

from .. import backends
from ..backends.engine import Engine
from ..core.loop import SamplingLoop
from .arithmetic import ARITHMETIC, Arithmetic
from .loops import loop_cases
from .ops import OpCase

CLASSES = {"float32": "exact", "float64": "exact", "float32-close": "close"}  # precision -> exactness class


@dataclass(frozen=True)
class Target:
    """backend: its name in the registry. isa: of the CPU engine. precision, device: as of ``Planner``. launches: of the
    CUDA engine.
    """

    backend: str
    isa: str | None = None
    precision: str = "float32"
    threads: int | None = 1
    device: str | None = None
    launches: str | None = None

    def __str__(self) -> str:
        precision = None if self.precision == "float32" else self.precision
        return " ".join(part for part in (self.backend, self.isa, self.launches, precision) if part)

    @property
    def exactness(self) -> str:
        """The class that the precision claims."""
        return CLASSES.get(self.precision, "fast")

    @property
    def arithmetic(self) -> Arithmetic:
        """What the precision rounds."""
        return ARITHMETIC[self.precision]

    def ready(self, loop: SamplingLoop, batch: int, device: str | None = None) -> Engine:
        """An engine for ``batch`` plans of the loop."""
        own = {} if self.isa is None else {"isa": self.isa}
        return backends.get(self.backend).ready(
            loop, device=device or self.device, batch=batch, precision=self.precision, threads=self.threads,
            **own, **self._launched,
        )  # fmt: skip

    def evaluate(self, case: OpCase) -> dict[str, NDArray]:
        """The outputs of an op case by name, ``[B, C, H]`` each."""
        module = backends.get(self.backend)
        where = {"isa": self.isa} if "isa" in module.OPTIONS else {"device": self.device}
        return module.evaluate(
            case.program, case.weights, case.inputs, case.table,
            precision=self.precision, threads=self.threads, **where, **self._launched,
        )  # fmt: skip

    @property
    def _launched(self) -> dict[str, str]:
        return {} if self.launches is None else {"launches": self.launches}


REFERENCE = Target("reference")
EXACT = Target("reference", precision="float64")


def targets(names: Iterable[str] | None = None) -> list[Target]:
    """Every backend (of ``names``, default all) that can run here, once for each instruction set that it has and each
    precision of the classes exact and close.
    """
    found = []
    for name in backends.NAMES if names is None else names:
        if backends.why_not(name, loop_cases()[0].loop) is None:
            module = backends.get(name)
            isas = module.isas() or [None]
            judged = [p for p in module.PRECISIONS if p in CLASSES and p != EXACT.precision]  # which judges the others
            found += [Target(name, isa, precision) for precision in judged for isa in isas]
    return found
