"""torch eager: the original's networks and loop, as people run them."""

from __future__ import annotations

import importlib.util

from numpy.typing import NDArray

from ..problem import Problem
from . import Ready, Settings


class Eager:
    """Plain modules of torch.nn, the time embedding evaluated at every step, the value's gradient by autograd."""

    name = "torch eager"
    ours = False

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        """torch is all it needs."""
        return None if importlib.util.find_spec("torch") else "torch is not installed"

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """Modules with the problem's weights."""
        import torch

        from diffuser_fast.cli.eager_loop import EagerLoop

        torch.set_num_threads(settings.threads)
        if problem.workload.kind in ("plan", "guided"):
            loop = EagerLoop(problem.checkpoint, problem.loop, problem.workload.batch)
            tape = torch.from_numpy(problem.tape)
            names = ("x", "value") if problem.loop.guide else ("x",)

            def answer(found: tuple[torch.Tensor, ...]) -> dict[str, NDArray]:
                return {name: tensor.numpy() for name, tensor in zip(names, found, strict=False)}

            return Ready(lambda: loop(problem.known, tape), answer)
        x = torch.from_numpy(problem.x)
        t = torch.full((problem.workload.batch,), int(problem.loop.steps.t[0]))
        return self._step(problem, x, t) if problem.workload.kind == "step" else self._gradient(problem, x, t)

    def _step(self, problem: Problem, x, t) -> Ready:
        import torch

        from diffuser_fast.cli.eager import eager_network

        net = eager_network(problem.checkpoint.unet)

        def run() -> torch.Tensor:
            with torch.no_grad():
                return net(x, t)

        return Ready(run, lambda y: {"y": y.numpy()})

    def _gradient(self, problem: Problem, x, t) -> Ready:
        from diffuser_fast.cli.eager import eager_network
        from diffuser_fast.cli.eager_loop import value_gradient

        net = eager_network(problem.checkpoint.value)
        return Ready(
            lambda: value_gradient(net, x, t),
            lambda found: {"value": found[0].numpy(), "gradient": found[1].numpy()},
        )
