"""ONNX Runtime and OpenVINO, on ONNX models with static shapes that are exported once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..problem import Problem
from . import Candidate, Ready, Settings
from .assembled import assemble
from .exported import PACKAGES, model


@dataclass(frozen=True)
class OnnxRuntime(Candidate):
    """CPU execution provider, all graph optimisations (its default), sequential; a session per network."""

    name: str = "ONNX Runtime"
    needs = ("onnxruntime", *PACKAGES["onnx"])

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL

        def compiler(role: str) -> Callable[..., list[Any]]:
            session = ort.InferenceSession(
                model(problem, role, "onnx", "images"), options, providers=["CPUExecutionProvider"]
            )
            names = [entry.name for entry in session.get_inputs()]
            return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))

        return assemble(problem, compiler, np.ascontiguousarray, np.asarray)


@dataclass(frozen=True)
class OpenVino(Candidate):
    """One stream, latency hint, float32 throughout (its default on some CPUs is bfloat16); a request per network."""

    name: str = "OpenVINO"
    needs = ("openvino", *PACKAGES["onnx"])

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """From ONNX: its torch front end made slower graphs of these networks."""
        import openvino

        core = openvino.Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": settings.threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip

        def compiler(role: str) -> Callable[..., list[Any]]:
            request = core.compile_model(model(problem, role, "onnx", "rows"), "CPU", options).create_infer_request()

            def call(*arrays: np.ndarray) -> list[np.ndarray]:
                # Outputs are copied out, for the request's own memory is written again by its next call.
                return list(request.infer(list(arrays), share_inputs=True).to_tuple())

            return call

        return assemble(problem, compiler, np.ascontiguousarray, np.asarray)
