"""IREE: the function that jax is given (xla.py), compiled ahead of time into one module.

Networks imported from ONNX were ten times slower, for its convolutions are, and not all of them compiled.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import NDArray

from ..problem import Problem
from . import Candidate, Ready, Settings
from .exported import model
from .xla import OUTPUTS, fresh

# What the code is generated for, by the widest instruction set that is allowed; else for the CPU that compiles.
TARGETS = {"scalar": "x86-64", "avx2": "x86-64-v3", "avx512": "x86-64-v4"}


@dataclass(frozen=True)
class Iree(Candidate):
    """Data tiling, weights as constants (packed when it is compiled); one thread: the device without a scheduler."""

    name: str = "IREE"
    needs = ("iree", "jax")

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """Loads the module; the first time compiles it, in a process of its own."""
        from iree import runtime

        target = TARGETS.get(settings.isa, "host")
        path = model(problem, problem.workload.kind, "vmfb", target)
        # A number of groups, not their maximum: that would pin the threads, as nobody else's are.
        runtime.flags.parse_flags(f"--task_topology_group_count={settings.threads}")
        config = runtime.Config("local-sync" if settings.threads == 1 else "local-task")
        call = runtime.load_vm_module(runtime.VmModule.mmap(config.vm_instance, str(path)), config)["main"]
        given, names = fresh(problem), OUTPUTS[problem.workload.kind]

        def run() -> dict[str, NDArray]:
            found = call(*given)
            found = [found] if len(names) == 1 else found
            return {name: array.to_host() for name, array in zip(names, found, strict=True)}

        return Ready(run, note=f"compiled for {target}")
