"""torch eager: the original's networks and loop, as people run them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from ..problem import OUTPUTS, Problem
from . import Candidate, Ready, Settings

ORIGINAL = "torch eager, as the original"
NAMES = {"": "torch eager", "waits": ORIGINAL, "one graph": "torch eager, one graph"}


@dataclass(frozen=True)
class Eager(Candidate):
    """Plain modules of torch.nn, the time embedding evaluated at every step, the value's gradient by autograd.

    how: "waits" fetches the least and the largest value in every step, as the original does for its progress bar even
    when that is not shown; "one graph" is recorded once as a CUDA graph and replayed.
    """

    how: str = ""
    needs = ("torch",)

    @property
    def name(self) -> str:
        return NAMES[self.how]

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        if self.how == "waits" and problem.loop.guide is None:
            return "the original's loop for mazes waits for nothing: it is `torch eager`"
        return super().why_not(problem, settings)

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        import torch

        from diffuser_fast.cli.eager import eager_network
        from diffuser_fast.cli.eager_loop import EagerLoop, value_gradient

        torch.set_num_threads(settings.threads)
        clock, batch, kind = settings.on, problem.workload.batch, problem.workload.kind
        if kind in ("step", "gradient"):
            net = eager_network(problem.checkpoint.unet if kind == "step" else problem.checkpoint.value)
            x, t = torch.from_numpy(problem.x), torch.full((batch,), int(problem.loop.steps.t[0]))
            step = torch.no_grad()(lambda: (net(x, t),))
            call = step if kind == "step" else lambda: value_gradient(net, x, t)
            return Ready(call, partial(_named, kind))
        watch = (lambda values: (values.min().item(), values.max().item())) if self.how == "waits" else None
        loop = EagerLoop(problem.checkpoint, problem.loop, batch, clock.device, watch)
        arrays = problem.tape, problem.inpainting.mask, problem.inpainting.values
        tape, mask, given = (torch.from_numpy(a).to(clock.device) for a in arrays)
        staging = torch.empty(given.shape, pin_memory=clock.device == "cuda")

        sample = partial(loop.sample, mask, given, tape)
        if self.how == "one graph":
            sample = clock.capture(sample)

        def run() -> list[Any]:
            staging.numpy()[:] = problem.inpainting.values
            given.copy_(staging, non_blocking=True)
            return [tensor.cpu() for tensor in sample()]

        return Ready(run, partial(_named, kind), sample)


def _named(kind: str, tensors: Any) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in zip(OUTPUTS[kind], tensors, strict=False)}
