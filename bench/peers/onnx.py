"""ONNX Runtime and OpenVINO, on ONNX models with static shapes that are exported once and kept on disk."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..machine import ROOT, SCRATCH
from ..problem import Problem, problem
from ..workloads import workloads
from . import Candidate, Ready, Settings
from .assembled import assemble, inputs

EXPORTING = ("torch", "onnx", "onnxscript")
SOURCES = ("assembled.py", "modules.py", "onnx.py")


@dataclass(frozen=True)
class OnnxRuntime(Candidate):
    """CPU execution provider, all graph optimisations (its default), sequential; a session per network."""

    name: str = "ONNX Runtime"
    needs = ("onnxruntime", *EXPORTING)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """Its kernels ask the CPU what it has, and there is no switch."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL

        def compiler(role: str) -> Callable[..., list[Any]]:
            session = ort.InferenceSession(onnx_model(problem, role), options, providers=["CPUExecutionProvider"])
            names = [entry.name for entry in session.get_inputs()]
            return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))

        note = "not capped: it uses the CPU's widest instruction set" if settings.isa else ""
        return assemble(problem, compiler, np.ascontiguousarray, np.asarray, note=note)


@dataclass(frozen=True)
class OpenVino(Candidate):
    """One stream, latency hint, float32 throughout (its default on some CPUs is bfloat16); a request per network."""

    name: str = "OpenVINO"
    needs = ("openvino", *EXPORTING)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """From ONNX: its torch front end made slower graphs of these networks."""
        import openvino

        core = openvino.Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": settings.threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip

        def compiler(role: str) -> Callable[..., list[Any]]:
            request = core.compile_model(onnx_model(problem, role), "CPU", options).create_infer_request()

            def call(*arrays: np.ndarray) -> list[np.ndarray]:
                # Outputs are copied out, for the request's own memory is written again by its next call.
                return list(request.infer(list(arrays), share_inputs=True).to_tuple())

            return call

        return assemble(problem, compiler, np.ascontiguousarray, np.asarray)


def onnx_model(given: Problem, role: str, folder: Path = SCRATCH / "models") -> Path:
    """The model of a role of assembled.py. RuntimeError if it cannot be exported.

    Its name is a digest of all that it is made of: weights, inputs, our code, the exporter's versions.
    """
    name = f"{given.workload.name.replace('/', '-')}-{role}"
    digest = hashlib.sha256("".join(f"{name} {package} {version(package)}" for package in EXPORTING).encode())
    digest.update(b"".join(Path(__file__).with_name(source).read_bytes() for source in SOURCES))
    network = given.loop.denoiser if role in ("step", "denoise") else given.loop.guide
    digest.update(network.program.digest().encode())
    for array in (*network.weights.values(), *inputs(given, role), given.inpainting.mask):
        digest.update(array.tobytes())
    path = folder / f"{name}-{digest.hexdigest()[:16]}.onnx"
    if not path.exists():  # by a process of its own: one that only loads models holds no torch
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bench.peers.onnx", given.workload.name, role, str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"export to ONNX: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    return path


def main(workload: str, role: str, path: str) -> None:
    """Export, whole or not at all."""
    import torch

    from .modules import PlanModule

    given = problem(workloads().find(workload))
    example = tuple(torch.tensor(a) for a in inputs(given, role))
    with torch.no_grad():
        program = torch.onnx.export(PlanModule(given, role).eval(), example, dynamo=True, verbose=False)
    part = Path(path).with_suffix(".part")
    part.write_bytes(program.model_proto.SerializeToString())
    part.replace(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
