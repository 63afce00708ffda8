"""Device work recorded once and replayed: one CUDA graph on its own stream, or plain launches where that is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch


class Replay:
    """A fixed sequence of asynchronous device work over static memory, as one call that waits once, at its end.

    ``work`` enqueues it on the current stream: it may neither wait nor allocate. It is run once by itself (which loads
    kernels: that may not happen during a capture) and then captured, in an error mode and with a memory pool that leave
    other users of CUDA in this process alone. ``reason`` says why there is no graph, or is None; without a graph
    ``work`` is run each time, with the same result.

    The stream is ordered with the caller's: it begins after what the caller's stream holds when it is called, and the
    call returns when it has ended. ``cuda`` stands for ``torch.cuda``, so that the order of events can be tested.
    """

    def __init__(self, work: Callable[[], None], device: torch.device, cuda=torch.cuda) -> None:
        self.work, self.device, self.reason = work, device, None
        self._cuda, self._stream, self._graph = cuda, cuda.Stream(device), None
        self._enqueue(work)
        self._stream.synchronize()
        try:
            self._graph = self._captured()
        except RuntimeError as error:
            self.reason = f"CUDA refused to capture a graph: {_first_line(error)}"
            self._stream.synchronize()

    def __call__(self) -> None:
        """Everything once more; returns when it has ended."""
        self._enqueue(self.work if self._graph is None else self._graph.replay)
        self._stream.synchronize()

    def _enqueue(self, work: Callable[[], None]) -> None:
        cuda = self._cuda
        with cuda.device(self.device):
            self._stream.wait_stream(cuda.current_stream(self.device))
            with cuda.stream(self._stream):
                work()

    def _captured(self):
        cuda, graph = self._cuda, self._cuda.CUDAGraph()
        with cuda.device(self.device), cuda.stream(self._stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self.work()
            except BaseException:
                _abandon(graph)
                raise
            graph.capture_end()
        return graph


def _abandon(graph) -> None:
    """End a capture that failed half way; that it cannot be ended well is known already."""
    with contextlib.suppress(RuntimeError):
        graph.capture_end()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
