"""torch.compile: the networks and the arithmetic around them, in the mode that turns out fastest."""

from __future__ import annotations

import importlib.util
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..problem import Problem
from . import Ready, Settings

Mode = Callable[[Any, Sequence[Any], dict[str, Any]], Callable[..., Any]]
TRIALS, TRIAL_SECONDS = 10, 2.0  # calls of each mode that decide


def just_in_time(**options: Any) -> Mode:
    """torch.compile with these options of Inductor (or ``backend=``)."""

    def compile_(module: Any, inputs: Sequence[Any], more: dict[str, Any]) -> Callable[..., Any]:
        import torch

        how = options if "backend" in options else {"options": {**options, **more}}
        compiled = torch.compile(module, dynamic=False, fullgraph=True, **how)

        def call(*arrays: Any) -> Any:
            with torch.no_grad():
                return compiled(*arrays)

        return call

    return compile_


def ahead_of_time(**options: Any) -> Mode:
    """AOTInductor: exported and compiled to a library, with no guards and no Python around its kernels."""

    def compile_(module: Any, inputs: Sequence[Any], more: dict[str, Any]) -> Callable[..., Any]:
        import tempfile
        from pathlib import Path

        import torch

        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            program = torch.export.export(module, tuple(inputs))
            path = torch._inductor.aoti_compile_and_package(
                program, package_path=str(Path(folder) / "network.pt2"), inductor_configs={**options, **more}
            )
            return torch._inductor.aoti_load_package(path)

    return compile_


# Freezing makes weights constants, so that convolutions are packed for oneDNN once.
MODES: dict[str, Mode] = {
    "default": just_in_time(),
    "freezing": just_in_time(freezing=True),
    "max-autotune": just_in_time(freezing=True, max_autotune=True),
    "ahead of time": ahead_of_time(freezing=True),
}
QUICK_MODE = "freezing"


class Compiled:
    """Static shapes, no graph breaks. What was compiled is remembered on disk, so a second ladder starts sooner."""

    name = "torch.compile"
    ours = False

    def __init__(self, modes: Mapping[str, Mode] = MODES) -> None:
        self.modes = modes
        self.best: dict[tuple[str, str, int], str] = {}  # (network, role, batch) -> mode

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        """torch and a C++ compiler; in a quick run also time."""
        if importlib.util.find_spec("torch") is None:
            return "torch is not installed"
        if not (shutil.which("g++") or shutil.which("clang++")):
            return "Inductor needs a C++ compiler"
        if settings.quick and problem.workload.name not in settings.compiled:
            return f"--quick compiles only {', '.join(settings.compiled)}"
        return None

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """Each network in every mode, unless its best mode at this batch is known from a workload before."""
        import torch

        from .assembled import assemble

        torch.set_num_threads(settings.threads)
        torch._dynamo.reset()  # what was compiled for the last workload would only be looked through at every call
        more = {"cpp.march": "x86-64-v3"} if settings.isa == "avx2" else {}
        used = []

        def compiler(module: Any, inputs: Sequence[Any], role: str) -> Callable[..., Any]:
            network, batch = problem.workload.network.name, problem.workload.batch
            key = (network, "denoiser" if role == "denoiser" else "gradient", batch)
            modes = [self.best[key]] if key in self.best else list(self.modes)
            if settings.quick and QUICK_MODE in modes:
                modes = [QUICK_MODE]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                calls = {mode: self.modes[mode](module, inputs, more) for mode in modes}
                fastest = min(calls, key=lambda mode: _median(calls[mode], inputs))
            self.best[key] = fastest
            used.append(fastest)
            return calls[fastest]

        ready = assemble(problem, compiler, lambda a: torch.tensor(a), lambda t: t.numpy())
        note = f"mode: {', '.join(dict.fromkeys(used))}" + (", the only one tried" if settings.quick else "")
        return Ready(ready.run, ready.answer, note)


def _median(call: Callable[..., Any], inputs: Sequence[Any]) -> float:
    """Seconds of a call once it is warm. The first call is what compiles, in the modes that do it just in time."""
    call(*inputs)
    call(*inputs)
    taken, began = [], time.perf_counter()
    while not taken or (len(taken) < TRIALS and time.perf_counter() - began < TRIAL_SECONDS):
        start = time.perf_counter()
        call(*inputs)
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]
