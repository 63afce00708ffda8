"""jax on XLA:CPU, and IREE: a whole workload, the sampling loop of a plan included, as one compiled function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..machine import SCRATCH
from ..problem import OUTPUTS, Problem
from . import Candidate, Ready, Settings
from .exported import model

# What IREE's code is generated for, by the widest instruction set that is allowed; else for the CPU that compiles.
TARGETS = {"scalar": "x86-64", "avx2": "x86-64-v3", "avx512": "x86-64-v4"}


def fresh(problem: Problem) -> list[NDArray]:
    """The arrays that every call is given anew."""
    if problem.x is None:
        values = np.broadcast_to(problem.inpainting.values, problem.tape[0].shape)
        return [problem.tape, np.ascontiguousarray(values, np.float32)]
    return [problem.network.tables.per_step[0, 0], problem.x]


@dataclass(frozen=True)
class Xla(Candidate):
    """One ``jax.jit`` of everything, with ``fori_loop`` over denoising steps and guide steps.

    Weights and tables stay where XLA put them; a call takes numpy and gives numpy.
    """

    name: str = "jax"
    needs = ("jax",)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """Compiled for these shapes; compilations are kept on disk."""
        import jax

        from .jax_function import function

        jax.config.update("jax_compilation_cache_dir", str(SCRATCH / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        whole, weights = function(problem)
        arrays, weights, names = fresh(problem), jax.device_put(weights), OUTPUTS[problem.workload.kind]
        call = jax.jit(whole).lower(weights, *arrays).compile()
        return Ready(
            lambda: jax.block_until_ready(call(weights, *arrays)),
            lambda found: dict(zip(names, map(np.asarray, found), strict=True)),
        )


@dataclass(frozen=True)
class Iree(Candidate):
    """The same function, compiled ahead of time: data tiling, weights as constants (packed when it is compiled); one
    thread: the device without a scheduler.

    Networks imported from ONNX were ten times slower, for its convolutions are, and not all of them compiled.
    """

    name: str = "IREE"
    needs = ("iree", "jax")

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """Loads the module; the first time compiles it, in a process of its own."""
        from iree import runtime

        target, names = TARGETS.get(settings.isa, "host"), OUTPUTS[problem.workload.kind]
        path = model(problem, problem.workload.kind, "vmfb", target)
        # A number of groups, not their maximum: that would pin the threads, as nobody else's are.
        runtime.flags.parse_flags(f"--task_topology_group_count={settings.threads}")
        config = runtime.Config("local-sync" if settings.threads == 1 else "local-task")
        call = runtime.load_vm_module(runtime.VmModule.mmap(config.vm_instance, str(path)), config)["main"]
        given = fresh(problem)

        def run() -> dict[str, NDArray]:
            found = call(*given)
            found = [found] if len(names) == 1 else found
            return {name: array.to_host() for name, array in zip(names, found, strict=True)}

        return Ready(run, note=f"compiled for {target}")
