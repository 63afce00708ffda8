"""A network as an nn.Module over the reference interpreter: what is trained is what is planned with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..backends.reference import run
from ..core.checkpoint import Weights
from ..core.lower import lower
from ..core.program import Program
from ..core.spec import Spec, UNetSpec


class TrajectoryNetwork(nn.Module):
    """A U-Net ``(x [B, H, D], t [B]) -> [B, H, D]``, or a value network ``-> [B]``, by its spec.

    Parameters carry the names of core/lower.py (with "/" for "."), and torch's default initialisation of Conv1d and
    Linear: uniform in +-1 / sqrt(fan_in) for weights and biases; ones and zeros for norms.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        if not spec.is_original:
            raise ValueError("spec: networks of the original's relatives are planned with, not trained")
        self.spec = spec
        self.lowered = lower(spec)
        half = spec.dim // 2
        self.register_buffer("frequencies", 10000.0 ** (-torch.arange(half) / (half - 1)), persistent=False)
        self.parameters_by_name = nn.ParameterDict()
        bounds = _bounds(self.lowered.weights, self.lowered)
        for name, shape in self.lowered.weights.items():
            if name in bounds:
                value = torch.empty(shape).uniform_(-bounds[name], bounds[name])
            else:
                value = torch.ones(shape) if name.endswith(".weight") else torch.zeros(shape)
            self.parameters_by_name[_slashed(name)] = nn.Parameter(value)
        # Where a trajectory is one step long, all taps but one meet padding only. They are kept out of the gradient:
        # torch 2.13 on CPUs leaves theirs uninitialised in bfloat16 (k 3, stride 2: the end of every value network).
        self._lone_taps = _lone_taps(self.lowered.net)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: ``[B, H, D]`` normalised and noised; t: integers ``[B]``."""
        weights = {name: self.parameters_by_name[_slashed(name)] for name in self.lowered.weights}
        for name, tap in self._lone_taps.items():
            w = weights[name]
            weights[name] = torch.where(torch.arange(w.shape[2], device=w.device) == tap, w, 0.0)
        angle = t[:, None] * self.frequencies
        embedding = torch.cat((torch.sin(angle), torch.cos(angle)), dim=1)[:, :, None].to(x.dtype)
        table = run(self.lowered.time, weights, {"x": embedding})["y"][:, :, 0]
        y = run(self.lowered.net, weights, {"x": x.transpose(1, 2)}, table)["y"]
        return y.transpose(1, 2) if isinstance(self.spec, UNetSpec) else y[:, 0, 0]

    def weights(self) -> Weights:
        """A copy of the parameters as a checkpoint holds them."""
        arrays = {_dotted(n): p.detach().float().cpu().numpy().copy() for n, p in self.parameters_by_name.items()}
        return Weights(self.spec, arrays)

    def load(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        """Take over weights by name."""
        with torch.no_grad():
            for name, array in arrays.items():
                self.parameters_by_name[_slashed(name)].copy_(torch.from_numpy(np.array(array)))


def _bounds(weights: dict[str, tuple[int, ...]], lowered) -> dict[str, float]:
    """1 / sqrt(fan_in) of every convolution's weight and bias, as torch initialises them."""
    bounds = {}
    for program in (lowered.net, lowered.time):
        for op in program.ops:
            if op.kind != "conv":
                continue
            shape = weights[op.weights[0]]
            # torch takes shape[1] * k as the fan-in, transposed or not.
            bounds.update(dict.fromkeys(op.weights, (shape[1] * shape[2]) ** -0.5))
    return bounds


def _lone_taps(net: Program) -> dict[str, int]:
    """Weights of convolutions from one step to one step, and the tap that meets it."""
    return {
        op.weights[0]: op.attrs["pad"]
        for op in net.ops
        if op.kind == "conv" and op.attrs["k"] > 1 and net.shapes[op.ins[0]][1] == net.shapes[op.outs[0]][1] == 1
    }


def _slashed(name: str) -> str:
    return name.replace(".", "/")  # torch allows no dots in parameter names


def _dotted(name: str) -> str:
    return name.replace("/", ".")
