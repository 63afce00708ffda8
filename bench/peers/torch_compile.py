"""torch.compile: the networks and the arithmetic around them; every mode is a candidate of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..problem import Problem
from . import Candidate, Ready, Settings

# Freezing makes weights constants, so that convolutions are packed for oneDNN once. AOT is AOTInductor: a library with
# no guards and no Python around its kernels.
CPU_MODES = ("default", "freezing", "max-autotune", "AOT")
GPU_MODES = ("one graph", "reduce-overhead", "max-autotune, one graph")


@dataclass(frozen=True)
class Compiled(Candidate):
    """Static shapes, no graph breaks, in the best loop that we know how to assemble (assembled.py)."""

    mode: str
    backend: str | None = None  # of torch.compile, instead of Inductor
    needs = ("torch",)

    @property
    def name(self) -> str:
        return f"torch.compile {self.mode}"

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        if settings.clock == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
            return "Inductor needs a C++ compiler"
        return super().why_not(problem, settings)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        import torch

        from .assembled import assemble, inputs
        from .modules import PlanModule

        torch.set_num_threads(settings.threads)
        clock, one_graph = settings.on, self.mode.endswith("one graph")

        def native(array: Any) -> torch.Tensor:
            return torch.tensor(array, device=clock.device)

        def compiler(role: str) -> Callable[..., Sequence[torch.Tensor]]:
            module = PlanModule(problem, role).eval().to(clock.device)
            fast = self._compiled(torch, module, [native(a) for a in inputs(problem, role)], settings)

            def call(*arrays: torch.Tensor) -> Sequence[torch.Tensor]:
                with torch.no_grad():
                    found = fast(*arrays)
                # What a graph of torch.compile's own returns lies in its memory, and the next call writes there.
                return [y.clone() for y in found] if self.mode == "reduce-overhead" else found

            return call

        return assemble(problem, compiler, native, lambda t: t.cpu().numpy(), clock.capture if one_graph else None)

    def _compiled(self, torch: Any, module: Any, example: list[Any], settings: Settings) -> Callable[..., Any]:
        inductor = {"freezing": self.mode != "default", "max_autotune": self.mode == "max-autotune"}
        inductor |= {"cpp.march": "x86-64-v3"} if settings.isa == "avx2" else {}
        if self.mode == "AOT":
            with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
                program = torch.export.export(module, tuple(example))
                package = torch._inductor.aoti_compile_and_package(
                    program, package_path=str(Path(folder) / "network.pt2"), inductor_configs=inductor
                )
                return torch._inductor.aoti_load_package(package)
        modes = {"one graph": "default", "max-autotune, one graph": "max-autotune-no-cudagraphs"}
        how = {"options": inductor} if settings.clock == "cpu" else {"mode": modes.get(self.mode, self.mode)}
        if self.backend or settings.clock == "rehearsal":
            how = {"backend": self.backend or "eager"}  # captured whole, but run by torch's own kernels
        return torch.compile(module, dynamic=False, fullgraph=True, **how)
