"""Whose clock a suite reads: the wall clock of a CPU, or CUDA events. Everything else is the same suite."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .repetitions import Timed


class WallClock:
    """A CPU's. device: torch's name of it. names: of what is timed; "host" is all of a call, from numpy to numpy."""

    device, names = "cpu", ("host",)

    def timed(self, run: Callable[[], Any], loop: Callable[[], Any] | None = None) -> dict[str, Timed]:
        """What is timed of a candidate (its ``Ready.run`` and ``Ready.loop``), each in turns of its own."""
        calls = {"host": (run, self.lap), "device": (loop or run, self.between_events)}
        return {name: Timed(*calls[name]) for name in self.names}

    def lap(self, call: Callable[[], Any]) -> float:
        """Milliseconds of a call that returns when its answer is there."""
        began = time.perf_counter()
        call()
        return (time.perf_counter() - began) * 1e3

    between_events = lap

    def wait(self) -> None:
        """Until everything that was enqueued is done."""

    def capture(self, run: Callable[[], Any]) -> Callable[[], Any]:
        """``run`` recorded: calling the result does the same to the same tensors and returns the same tensors."""
        return run


class Rehearsal(WallClock):
    """A CPU that stands in for a GPU: the same code path, meaningless times."""

    names = ("host", "device")


class CudaEvents(WallClock):
    """The current CUDA device's. "device" is the loop alone, between two events."""

    device, names = "cuda", ("host", "device")

    def lap(self, call: Callable[[], Any]) -> float:
        self.wait()
        return super().lap(call)

    def between_events(self, call: Callable[[], Any]) -> float:
        """Milliseconds of the device for what a call enqueues."""
        from torch import cuda

        start, end = (cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    def wait(self) -> None:
        import torch

        torch.cuda.synchronize()

    def capture(self, run: Callable[[], Any]) -> Callable[[], Any]:
        from torch import cuda

        side = cuda.Stream()  # capture wants everything that happens once only to have happened, on another stream
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(3):
                run()
        cuda.current_stream().wait_stream(side)
        cuda.synchronize()
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            found = run()
        return lambda: (graph.replay(), found)[1]


CLOCKS = {"cpu": WallClock, "cuda": CudaEvents, "rehearsal": Rehearsal}
