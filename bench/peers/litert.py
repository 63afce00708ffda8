"""LiteRT (TensorFlow Lite) with XNNPACK: the strongest engine of others on these networks that we know of."""

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
class LiteRt(Candidate):
    """An interpreter per network, models over ``[B, C, 1, H]`` (images.py), XNNPACK as it chooses."""

    name: str = "LiteRT"
    needs = ("ai_edge_litert", *PACKAGES["tflite"])

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        from ai_edge_litert.interpreter import Interpreter

        def compiler(role: str) -> Callable[..., list[Any]]:
            path = model(problem, role, "tflite", "images")
            interpreter = Interpreter(model_path=str(path), num_threads=settings.threads)
            interpreter.allocate_tensors()
            takes, gives = (
                [entry["index"] for entry in sorted(details, key=lambda entry: entry["name"])]
                for details in (interpreter.get_input_details(), interpreter.get_output_details())
            )

            def call(*arrays: np.ndarray) -> list[np.ndarray]:
                for index, array in zip(takes, arrays, strict=True):
                    interpreter.set_tensor(index, array)
                interpreter.invoke()
                return [interpreter.get_tensor(index) for index in gives]

            return call

        return assemble(problem, compiler, np.ascontiguousarray, np.asarray)
