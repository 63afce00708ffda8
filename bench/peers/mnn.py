"""MNN, on models converted from ONNX."""

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
class Mnn(Candidate):
    """A session per network, models over ``[B, C, 1, H]`` (images.py), float32 throughout.

    Its threads spin within a call and sleep between calls. With high power they would spin in others' turns.
    """

    name: str = "MNN"
    needs = ("MNN", *PACKAGES["onnx"])

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        import MNN

        order = MNN.Tensor_DimensionType_Caffe

        def compiler(role: str) -> Callable[..., list[Any]]:
            network = MNN.Interpreter(str(model(problem, role, "mnn", "images")))
            session = network.createSession({"backend": "CPU", "numThread": settings.threads, "precision": "high"})
            takes, gives = (
                [tensor for _, tensor in sorted(tensors.items())]
                for tensors in (network.getSessionInputAll(session), network.getSessionOutputAll(session))
            )

            def call(*arrays: np.ndarray) -> list[np.ndarray]:
                for tensor, array in zip(takes, arrays, strict=True):
                    # Not tensor.fromNumpy: the session does not see what it sets.
                    tensor.copyFrom(MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, order))
                network.runSession(session)
                return [tensor.getNumpyData().copy() for tensor in gives]

            return call

        return assemble(problem, compiler, np.ascontiguousarray, np.asarray)
