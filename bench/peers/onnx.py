"""ONNX Runtime, and the export to ONNX that OpenVINO shares."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from ..problem import Problem
from . import Ready, Settings

NEEDED = ("torch", "onnx", "onnxscript")


class Exports:
    """Modules as ONNX models with static shapes. Those of the problem at hand are kept for whoever asks next."""

    def __init__(self) -> None:
        self.problem: Problem | None = None
        self.models: dict[str, bytes] = {}

    def model(self, problem: Problem, role: str, module: Any, inputs: Sequence[Any]) -> bytes:
        """The module that plays ``role`` in this problem."""
        if self.problem is not problem:
            self.problem, self.models = problem, {}
        if role not in self.models:
            self.models[role] = exported(module, inputs)
        return self.models[role]


class OnnxRuntime:
    """CPU execution provider, all graph optimisations, sequential."""

    name = "ONNX Runtime"
    ours = False

    def __init__(self, exports: Exports) -> None:
        self.exports = exports

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        """Its packages."""
        return missing("onnxruntime", *NEEDED)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """A session per network."""
        import numpy as np
        import onnxruntime

        from .assembled import assemble

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3

        def compiler(module: Any, inputs: Sequence[Any], role: str) -> Callable[..., list[Any]]:
            model = self.exports.model(problem, role, module, inputs)
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            names = [entry.name for entry in session.get_inputs()]
            return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))

        ready = assemble(problem, compiler, np.ascontiguousarray, np.asarray)
        # Its kernels ask the CPU what it has, and there is no switch.
        note = "not capped: it uses the CPU's widest instruction set" if settings.isa else ""
        return Ready(ready.run, ready.answer, note)


def missing(*packages: str) -> str | None:
    """The first of these packages that is not installed, and the cure, in a sentence; or None."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed (pip install onnx onnxscript onnxruntime openvino)"
    return None


def exported(module: Any, inputs: Sequence[Any]) -> bytes:
    """An ONNX model, serialised."""
    import torch

    # The exporter talks a lot: about its progress, and about packages that nothing here needs.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, tuple(inputs), dynamo=True, verbose=False)
    return program.model_proto.SerializeToString()
