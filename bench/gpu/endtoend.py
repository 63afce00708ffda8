"""A peer's whole plan, from a numpy observation to numpy plans: what its user would write around its sampling loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffuser_fast.core.conditions import parse_conditions
from diffuser_fast.core.loop import ranking

from ..problem import Problem
from .device import Device

# Known values [1, H, D] on the device -> x [B, H, D] and, guided, values [B]; enqueued, not waited for.
Sample = Callable[[Tensor], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Ready:
    """A candidate made ready for a problem.

    check: the answer to be judged, from the problem's own noise. run: the loop alone, enqueued. plan: everything, from
    an observation ``[O]`` in physical units to sorted physical plans in numpy.
    """

    check: Callable[[], dict[str, NDArray]]
    run: Callable[[], Any]
    plan: Callable[[NDArray], Any]
    note: str = ""


def ready(problem: Problem, device: Device, sample: Sample, note: str = "") -> Ready:
    """A peer, given its loop."""
    given = torch.from_numpy(problem.known.values).to(device.name)

    def check() -> dict[str, NDArray]:
        x, values = sample(given)
        found = {"x": x.cpu().numpy()}
        return found if values is None else {**found, "value": values.cpu().numpy()}

    return Ready(check, lambda: sample(given), EndToEnd(problem, device, sample), note)


class EndToEnd:
    """``obs [O]`` -> actions ``[B, H, A]``, observations ``[B, H, O]``, values ``[B]``: physical, best first."""

    def __init__(self, problem: Problem, device: Device, sample: Sample) -> None:
        self.problem, self.sample = problem, sample
        self.staging = device.staging(problem.known.values.shape)
        self.given = torch.empty(problem.known.values.shape, device=device.name)

    def __call__(self, obs: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        ckpt, shape = self.problem.checkpoint, self.problem.workload.network
        given, _ = parse_conditions(conditions(self.problem, obs), shape.horizon, ckpt.normalizers)
        self.staging.numpy()[:] = given.values
        self.given.copy_(self.staging, non_blocking=True)
        x, values = self.sample(self.given)
        x = x.cpu().numpy()
        values = np.zeros(len(x), np.float32) if values is None else values.cpu().numpy()
        order = ranking(values, len(x))
        best, split = x[order], ckpt.action_dim
        actions = ckpt.normalizers.actions.unnormalize(best[..., :split]).astype(np.float32)
        observations = ckpt.normalizers.observations.unnormalize(best[..., split:]).astype(np.float32)
        return actions, observations, values[order]


def conditions(problem: Problem, obs: NDArray) -> dict[int, NDArray]:
    """The same observation at every time at which the workload's network is given one."""
    return {time: obs for time in problem.workload.network.known}


def observations(problem: Problem, count: int = 16) -> NDArray[np.float64]:
    """``[count, O]`` in physical units, by the workload's name alone."""
    normal = np.random.default_rng(len(problem.workload.name)).normal(
        0, 0.5, (count, problem.checkpoint.observation_dim)
    )
    return problem.checkpoint.normalizers.observations.unnormalize(normal)
