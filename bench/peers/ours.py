"""Our own backends, through the same door that a Planner uses."""

from __future__ import annotations

from dataclasses import dataclass

from diffuser_fast import backends
from diffuser_fast.backends import get

from ..problem import Problem
from . import Ready, Settings


@dataclass(frozen=True)
class Ours:
    """A backend of the register, in one precision; ``isa`` None: the widest that the settings allow."""

    backend: str
    precision: str = "float32"
    isa: str | None = None
    ours: bool = True

    @property
    def name(self) -> str:
        """The backend's, and what sets it apart from the other candidates of that backend."""
        extra = [self.precision] if self.precision != "float32" else []
        return " ".join([self.backend, *extra, *([self.isa] if self.isa else [])])

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        """What the backend itself says."""
        if self.isa and settings.isa and self.isa != settings.isa:
            return f"--isa {settings.isa} was asked for"
        return backends.why_not(self.backend, problem.loop)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """An engine for the batch."""
        module = get(self.backend)
        options = {"batch": problem.workload.batch, "precision": self.precision, "threads": settings.threads}
        note = ""
        if hasattr(module, "isas"):
            isa = self.isa or settings.isa or module.isas()[-1]
            options["isa"], note = isa, f"isa {isa}"
        if self.backend == "reference":
            import torch  # this backend leaves torch's threads alone

            torch.set_num_threads(settings.threads)
        engine = module.ready(problem.loop, **options)
        return Ready(lambda: engine(problem.known, problem.tape, x=problem.x), problem.answer, note)


def engines(every_isa: bool = False) -> list[Ours]:
    """Every backend in every precision it has; ``every_isa``: the CPU engine once per instruction set, too."""
    found = []
    for name in backends.NAMES:
        try:
            # What needs torch is not asked, lest asking load it: a process may be measuring memory without it.
            module = None if backends.REGISTRY[name].needs else get(name)
        except ImportError:  # it takes part all the same, to say why it cannot
            module = None
        found += [Ours(name, precision) for precision in getattr(module, "PRECISIONS", ("float32",))]
        if every_isa and hasattr(module, "isas"):
            found += [Ours(name, isa=isa) for isa in module.isas()[:-1]]
    return found
