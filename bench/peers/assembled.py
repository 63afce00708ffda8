"""Whole plans out of somebody else's compiler: the best loop that can be assembled around compiled networks.

A peer brings one function, which turns an nn.Module into something fast. The rest is done for it as well as we know:
step tables instead of a time embedding, guide rows that are no-ops skipped, the value's gradient as a forward graph,
and each network compiled together with all the arithmetic of the sampling loop around it. What is left in Python is
one call per network evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffuser_fast.core.loop import SamplingLoop
from diffuser_fast.core.passes import vjp

from ..problem import Problem
from . import Ready
from .graph import ProgramModule

# (module, example inputs, role) -> a callable on native arrays that gives a sequence of native arrays.
# role: "denoiser", "gradient" or "value", for peers that remember what served this network best.
Compiler = Callable[[nn.Module, Sequence[Tensor], str], Callable[..., Sequence[Any]]]


class Denoise(nn.Module):
    """Network, clip, update, projection: one unguided row."""

    def __init__(self, loop: SamplingLoop, mask: NDArray) -> None:
        super().__init__()
        if loop.steps.d.any() or (loop.steps.p != 0).any() or (loop.steps.q != 1).any() or loop.steps.g0.any():
            raise ValueError("assembled: loops are written for networks that predict x0 and samplers of one step")
        self.net = ProgramModule(loop.denoiser.program, loop.denoiser.weights)
        self.bounds = loop.clip is not None
        if self.bounds:
            self.register_buffer("lo", torch.tensor(loop.clip[0]))
            self.register_buffer("hi", torch.tensor(loop.clip[1]))
        self.register_buffer("mask", torch.tensor(mask))

    def forward(self, row: Tensor, x: Tensor, c: Tensor, noise: Tensor, given: Tensor) -> tuple[Tensor]:
        """c: the row's a, b, s."""
        x0 = self.net(row, x.transpose(1, 2))[0].transpose(1, 2)
        if self.bounds:
            x0 = torch.minimum(torch.maximum(x0, self.lo), self.hi)
        return (torch.where(self.mask, given, c[0] * x0 + c[1] * x + c[2] * noise),)


class Climb(nn.Module):
    """One guide step: the value's gradient, the move, the projection."""

    def __init__(self, loop: SamplingLoop, mask: NDArray) -> None:
        super().__init__()
        self.gradient = Gradient(loop)
        self.register_buffer("mask", torch.tensor(mask))

    def forward(self, row: Tensor, x: Tensor, gx: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """gx: ``[1]``."""
        values, gradient = self.gradient(row, x)
        return torch.where(self.mask, given, x + gx * gradient), values


class Gradient(nn.Module):
    """The value and its gradient, by the vjp Program."""

    def __init__(self, loop: SamplingLoop) -> None:
        super().__init__()
        self.net = ProgramModule(vjp(loop.guide.program), loop.guide.weights)

    def forward(self, row: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: ``[B, H, D]``."""
        values, gradient = self.net(row, x.transpose(1, 2), x.new_ones(len(x), 1, 1))
        return values[:, 0, 0], gradient.transpose(1, 2)


class Value(nn.Module):
    """The value alone, where the last row has no guide step."""

    def __init__(self, loop: SamplingLoop) -> None:
        super().__init__()
        self.net = ProgramModule(loop.guide.program, loop.guide.weights)

    def forward(self, row: Tensor, x: Tensor) -> tuple[Tensor]:
        """x: ``[B, H, D]``."""
        return (self.net(row, x.transpose(1, 2))[0][:, 0, 0],)


class Step(nn.Module):
    """The denoiser alone."""

    def __init__(self, loop: SamplingLoop) -> None:
        super().__init__()
        self.net = ProgramModule(loop.denoiser.program, loop.denoiser.weights)

    def forward(self, row: Tensor, x: Tensor) -> tuple[Tensor]:
        """x: ``[B, H, D]``."""
        return (self.net(row, x.transpose(1, 2))[0].transpose(1, 2),)


def assemble(
    problem: Problem, compiler: Compiler, native: Callable[[NDArray], Any], array: Callable[[Any], NDArray]
) -> Ready:
    """A problem of any kind, run by compiled modules. native, array: to the peer's own arrays and back."""
    kind, loop = problem.workload.kind, problem.loop
    if kind in ("step", "gradient"):
        module, network, role, names = {
            "step": (Step, loop.denoiser, "denoiser", ("y",)),
            "gradient": (Gradient, loop.guide, "gradient", ("value", "gradient")),
        }[kind]
        inputs = [network.tables.per_step[0, 0], problem.x]
        call = compiler(module(loop).eval(), _tensors(inputs), role)
        ready = [native(a) for a in inputs]
        return Ready(lambda: call(*ready), lambda found: {n: array(a) for n, a in zip(names, found, strict=True)})
    sample = sampler(problem, compiler, native)
    first, given = native(problem.known.apply(problem.tape[0])), native(_given(problem))
    return Ready(lambda: sample(first, given), lambda found: {name: array(a) for name, a in found.items()})


def sampler(
    problem: Problem, compiler: Compiler, native: Callable[[NDArray], Any]
) -> Callable[[Any, Any], dict[str, Any]]:
    """The rows of a plan: ``(first, given)`` -> ``{"x": ..., "value": ...}``, all native ``[B, H, D]`` (value ``[B]``).

    first: the first noise with what is known in its place; given: the known values, zeros elsewhere. The noise of the
    rows is the problem's tape.
    """
    loop, known, steps = problem.loop, problem.known, problem.loop.steps
    given, first = _given(problem), known.apply(problem.tape[0])
    coefficients = np.stack([steps.a, steps.b, steps.s], axis=1).astype(np.float32)
    shifts = steps.gx.astype(np.float32)[:, None]

    def compiled(module: nn.Module, role: str, *inputs: NDArray) -> Callable[..., Sequence[Any]]:
        return compiler(module.eval(), _tensors(inputs), role)

    denoise = compiled(
        Denoise(loop, known.mask),
        "denoiser",
        loop.denoiser.tables.per_step[0, 0],
        first,
        coefficients[0],
        problem.tape[1],
        given,
    )
    climb = value = None
    if loop.guide is not None:
        tables = loop.guide.tables.per_step[:, 0]
        if steps.guide_steps.any():
            climb = compiled(Climb(loop, known.mask), "gradient", tables[0], first, shifts[0], given)
        if not steps.guide_steps[-1]:
            value = compiled(Value(loop), "value", tables[0], first)
    rows = [native(row) for row in loop.denoiser.tables.per_step[:, 0]]
    guide_rows = [native(row) for row in loop.guide.tables.per_step[:, 0]] if loop.guide else []
    c, gx, noise = ([native(a) for a in many] for many in (coefficients, shifts, problem.tape))
    climbs = steps.guide_steps.tolist()

    def sample(x: Any, given: Any) -> dict[str, Any]:
        found = {}
        for k, times in enumerate(climbs):
            for _ in range(times):
                x, found["value"] = climb(guide_rows[k], x, gx[k], given)
            if value is not None and k == len(climbs) - 1:
                (found["value"],) = value(guide_rows[k], x)
            (x,) = denoise(rows[k], x, c[k], noise[k + 1], given)
        return {"x": x, **found}

    return sample


def _given(problem: Problem) -> NDArray:
    """What is known, for every plan of the batch."""
    return np.ascontiguousarray(np.broadcast_to(problem.known.values, problem.tape[0].shape))


def _tensors(arrays: Sequence[NDArray]) -> list[Tensor]:
    return [torch.tensor(a) for a in arrays]
