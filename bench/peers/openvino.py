"""OpenVINO's CPU plugin, from the ONNX model (its torch front end made slower graphs of these networks)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..problem import Problem
from . import Ready, Settings
from .onnx import NEEDED, Exports, missing


class OpenVino:
    """One stream, latency hint, float32 throughout (its default on some CPUs is bfloat16)."""

    name = "OpenVINO"
    ours = False

    def __init__(self, exports: Exports) -> None:
        self.exports = exports

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        """Its packages."""
        return missing("openvino", *NEEDED)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """An infer request per network."""
        import numpy as np
        import openvino

        from .assembled import assemble

        core = openvino.Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": settings.threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip
        kernels: set[str] = set()

        def compiler(module: Any, inputs: Sequence[Any], role: str) -> Callable[..., list[Any]]:
            model = core.read_model(self.exports.model(problem, role, module, inputs))
            compiled = core.compile_model(model, "CPU", options)
            kernels.update(_kernels(compiled))
            request, outputs = compiled.create_infer_request(), range(len(compiled.outputs))

            def call(*arrays: np.ndarray) -> list[np.ndarray]:
                # Outputs are copied out, for the request's own memory is written again by its next call.
                found = request.infer(list(arrays), share_inputs=True)
                return [found[i] for i in outputs]

            return call

        ready = assemble(problem, compiler, np.ascontiguousarray, np.asarray)
        note = f"its kernels: {', '.join(sorted(kernels))}" if settings.isa else ""
        return Ready(ready.run, ready.answer, note)


def _kernels(compiled: Any) -> set[str]:
    """What its nodes run on, e.g. brgconv_avx2_f32: says whether a cap on the instruction set was heard."""
    types = set()
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        if "primitiveType" in info.keys():  # noqa: SIM118 (no mapping: it has no __contains__)
            value = info["primitiveType"]
            types.add(str(value.get() if hasattr(value, "get") else value))
    return {name for name in types if "avx" in name or "sse" in name}
