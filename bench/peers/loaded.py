"""Engines that load models from files, one for each role of assembled.py, exported once and kept on disk (exported.py).

A new one has ``load``, a format and a form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from ..problem import Problem
from . import Candidate, Ready, Settings
from .assembled import assemble
from .exported import PACKAGES, model

Call = Callable[..., Sequence[NDArray]]


class Loaded(Candidate):
    """format: of the files, see exported.py. form: of the networks in them, see modules.py."""

    format: ClassVar[str] = "onnx"
    form: ClassVar[str] = "images"

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        return assemble(problem, lambda role: self.load(model(problem, role, self.format, self.form), settings.threads))

    def load(self, path: Path, threads: int) -> Call:
        """The model in a file, as a function of numpy arrays that returns some."""
        raise NotImplementedError


@dataclass(frozen=True)
class OnnxRuntime(Loaded):
    """CPU execution provider, all graph optimisations (its default), sequential; a session per network."""

    name: str = "ONNX Runtime"
    needs = ("onnxruntime", *PACKAGES["onnx"])

    def load(self, path: Path, threads: int) -> Call:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))


@dataclass(frozen=True)
class OpenVino(Loaded):
    """One stream, latency hint, float32 throughout (its default on some CPUs is bfloat16); a request per network.

    From ONNX: its torch front end made slower graphs of these networks.
    """

    name: str = "OpenVINO"
    needs = ("openvino", *PACKAGES["onnx"])
    form = "rows"

    def load(self, path: Path, threads: int) -> Call:
        options = {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip
        request = _openvino().compile_model(path, "CPU", options).create_infer_request()
        # Outputs are copied out, for the request's own memory is written again by its next call.
        return lambda *arrays: list(request.infer(list(arrays), share_inputs=True).to_tuple())


@cache
def _openvino() -> Any:
    """One core for all networks."""
    import openvino

    return openvino.Core()


@dataclass(frozen=True)
class LiteRt(Loaded):
    """TensorFlow Lite, an interpreter per network, with XNNPACK as it chooses: the strongest engine of others on these
    networks that we know of."""

    name: str = "LiteRT"
    needs = ("ai_edge_litert", *PACKAGES["tflite"])
    format = "tflite"

    def load(self, path: Path, threads: int) -> Call:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
        takes, gives = (
            [entry["index"] for entry in sorted(details, key=lambda entry: entry["name"])]
            for details in (interpreter.get_input_details(), interpreter.get_output_details())
        )

        def call(*arrays: NDArray) -> list[NDArray]:
            for index, array in zip(takes, arrays, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in gives]

        return call


@dataclass(frozen=True)
class Mnn(Loaded):
    """A session per network, float32 throughout.

    Its threads spin within a call and sleep between calls. With high power they would spin in others' turns.
    """

    name: str = "MNN"
    needs = ("MNN", *PACKAGES["onnx"])
    format = "mnn"

    def load(self, path: Path, threads: int) -> Call:
        import MNN

        network, order = MNN.Interpreter(str(path)), MNN.Tensor_DimensionType_Caffe
        session = network.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
        takes, gives = (
            [tensor for _, tensor in sorted(tensors.items())]
            for tensors in (network.getSessionInputAll(session), network.getSessionOutputAll(session))
        )

        def call(*arrays: NDArray) -> list[NDArray]:
            for tensor, array in zip(takes, arrays, strict=True):
                # Not tensor.fromNumpy: the session does not see what it sets.
                tensor.copyFrom(MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, order))
            network.runSession(session)
            return [tensor.getNumpyData().copy() for tensor in gives]

        return call
