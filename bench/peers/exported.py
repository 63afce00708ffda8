"""Models in the files of other engines, with static shapes: exported once and kept on disk."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from ..machine import ROOT, SCRATCH, fingerprint, whole
from ..problem import Problem, problem
from ..workloads import workloads

# Format -> the packages that export to it, and the sources here that say what.
_ONNX = ("torch", "onnx", "onnxscript")
PACKAGES = {
    "onnx": _ONNX, "mnn": (*_ONNX, "MNN"), "tflite": ("torch", "litert_torch"), "vmfb": ("jax", "iree-base-compiler"),
}  # fmt: skip
_TORCH = ("assembled.py", "modules.py", "exported.py")
_SOURCES = {"vmfb": ("xla.py", "jax_function.py", "exported.py")}


def model(given: Problem, role: str, format: str, form: str, folder: Path = SCRATCH / "models") -> Path:
    """The file of a role of assembled.py. form: "rows" or "images" (modules.py). In the format "vmfb" it is
    of a whole workload: role is its kind, form what CPU it is compiled for.

    Its name is a digest of all that it is made of: weights, inputs, our code, the exporter's versions. RuntimeError if
    it cannot be exported.
    """
    name, sources = f"{given.workload.name.replace('/', '-')}-{role}-{form}", _SOURCES.get(format, _TORCH)
    others = [f"{role} {form}", *(f"{package} {version(package)}" for package in PACKAGES[format])]
    others += [str(fingerprint()["isa"])] if format == "vmfb" else []  # machine code
    code = (Path(__file__).with_name(source).read_bytes() for source in sources)
    path = folder / f"{name}-{given.digest([*map(str.encode, others), *code])[:16]}.{format}"
    if not path.exists():  # by a process of its own: one that only loads models holds no torch
        command = [sys.executable, "-m", "bench.peers.exported", given.workload.name, role, form, str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"export to {format}: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    return path


def main(workload: str, role: str, form: str, path: str) -> None:
    """Export."""
    with whole(Path(path)) as part:
        _WRITERS[Path(path).suffix.removeprefix(".")](problem(workloads().find(workload)), role, form, part)


def _module(given: Problem, role: str, form: str) -> tuple[Any, tuple[Any, ...]]:
    """A role's network in torch, and the inputs to export it with."""
    import torch

    from .assembled import inputs
    from .modules import PlanModule

    torch.set_grad_enabled(False)
    return PlanModule(given, role, form).eval(), tuple(torch.tensor(a) for a in inputs(given, role))


def _onnx(given: Problem, role: str, form: str, path: Path) -> None:
    import torch

    program = torch.onnx.export(*_module(given, role, form), dynamo=True, verbose=False)
    for i, value in enumerate(program.model.graph.outputs):
        value.name = f"output_{i}"  # MNN gives them in no order
    path.write_bytes(program.model_proto.SerializeToString())


def _mnn(given: Problem, role: str, form: str, path: Path) -> None:
    """From the ONNX model, which ONNX Runtime is given too."""
    import _tools  # MNN's converter itself: its front, MNN.tools, installs a package to report its use with

    source = model(given, role, "onnx", form, path.parent)
    _tools.mnnconvert(["MNNConvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(path)])
    if not path.exists():
        raise RuntimeError(f"MNN does not convert {role}")


def _tflite(given: Problem, role: str, form: str, path: Path) -> None:
    import litert_torch

    litert_torch.convert(*_module(given, role, form)).export(str(path))


def _vmfb(given: Problem, role: str, form: str, path: Path) -> None:
    """The function that jax is given, as "main" of ``fresh``'s arrays, compiled for a CPU."""
    import jax
    from iree.compiler import tools

    from .jax_function import function
    from .xla import fresh

    call, weights = function(given)
    lowered = jax.jit(partial(call, jax.device_put(weights))).lower(*fresh(given))
    source = BytesIO()
    lowered.compiler_ir("stablehlo").operation.write_bytecode(source)
    flags = [f"--iree-llvmcpu-target-cpu={form}", "--iree-opt-level=O3", "--iree-opt-data-tiling"]
    path.write_bytes(tools.compile_str(source.getvalue(), target_backends=["llvm-cpu"], extra_args=flags))


_WRITERS = {"onnx": _onnx, "mnn": _mnn, "tflite": _tflite, "vmfb": _vmfb}

if __name__ == "__main__":
    main(*sys.argv[1:])
