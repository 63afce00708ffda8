"""Who else could plan on this GPU: torch eager as the original runs it and better, CUDA graphs, torch.compile."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..peers.assembled import sampler
from ..problem import Problem
from .device import Device
from .endtoend import Ready, Sample, ready


@dataclass(frozen=True)
class Eager:
    """The original's networks and loop. waits: in every row it fetches the least and the largest value, as the
    original does for its progress bar even when that is not shown. one_graph: recorded once, replayed."""

    name: str
    waits: bool = False
    one_graph: bool = False
    seconds: float = 10.0  # a guess at what making it ready takes
    ours: bool = False

    def why_not(self, problem: Problem, device: Device) -> str | None:
        """The original's loop for mazes shows no values."""
        if self.waits and problem.loop.guide is None:
            return "the original's loop for mazes waits for nothing in its rows: it is the row `torch eager`"
        return None

    def ready(self, problem: Problem, device: Device) -> Ready:
        """Modules on the device."""
        from diffuser_fast.cli.eager_loop import EagerLoop  # the command line's packages may be missing here

        watch = _fetch if self.waits else None
        loop = EagerLoop(problem.checkpoint, problem.loop, problem.workload.batch, device.name, watch)
        mask, tape = (torch.from_numpy(a).to(device.name) for a in (problem.known.mask, problem.tape))
        guided = problem.loop.guide is not None

        def sample(given: Tensor) -> tuple[Tensor, Tensor | None]:
            x, values = loop.sample(mask, given, tape)
            return x, values if guided else None

        return ready(problem, device, recorded(problem, device, sample) if self.one_graph else sample)


@dataclass(frozen=True)
class Compiled:
    """torch.compile in the best loop that we know how to assemble around it (bench/peers/assembled.py)."""

    name: str
    mode: str
    one_graph: bool = False
    seconds: float = 90.0
    ours: bool = False

    def why_not(self, problem: Problem, device: Device) -> str | None:
        """Nothing is known before it is tried."""
        return None

    def ready(self, problem: Problem, device: Device) -> Ready:
        """Every network compiled with the arithmetic of the loop around it."""

        def native(array: Any) -> Tensor:
            return torch.tensor(array, device=device.name)

        def compiler(module: Any, inputs: Sequence[Tensor], role: str) -> Callable[..., Sequence[Tensor]]:
            fast = torch.compile(
                module.to(device.name), dynamic=False, fullgraph=True, **device.compile_options(self.mode)
            )

            def call(*arrays: Tensor) -> Sequence[Tensor]:
                with torch.no_grad():
                    found = fast(*arrays)
                # What a graph of torch.compile's own returns lies in its memory, and the next call writes there.
                return found if self.one_graph else [y.clone() for y in found]

            return call

        # Autotuning reports on itself at length.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            rows = sampler(problem, compiler, native)
            mask, first = native(problem.known.mask), native(problem.tape[0])

            def sample(given: Tensor) -> tuple[Tensor, Tensor | None]:
                given = given.expand(first.shape).contiguous()
                found = rows(torch.where(mask, given, first), given)
                return found["x"], found.get("value")

            made = recorded(problem, device, sample) if self.one_graph else sample
            made(native(problem.known.values))  # now it is compiled
        return ready(problem, device, made, f"mode {self.mode}")


def recorded(problem: Problem, device: Device, sample: Sample) -> Sample:
    """The same in one CUDA graph."""
    static = torch.from_numpy(problem.known.values).to(device.name).clone()
    replay = device.capture(lambda: sample(static))

    def run(given: Tensor) -> tuple[Tensor, Tensor | None]:
        static.copy_(given)
        return replay()

    return run


ORIGINAL = "torch eager, as the original"
PEERS = {
    peer.name: peer
    for peer in (
        Eager(ORIGINAL, waits=True),
        Eager("torch eager"),
        Eager("torch eager, one graph", one_graph=True, seconds=20.0),
        Compiled("torch.compile, one graph", "default", one_graph=True),
        Compiled("torch.compile reduce-overhead", "reduce-overhead"),
        Compiled("torch.compile max-autotune, one graph", "max-autotune-no-cudagraphs", one_graph=True, seconds=150.0),
    )
}


def fresh() -> None:
    """Forget what was compiled for the rung before: one function may be compiled for a few networks only."""
    torch.compiler.reset()


def _fetch(values: Tensor) -> tuple[float, float]:
    return values.min().item(), values.max().item()
