"""Recording and replaying, with a stand-in for torch.cuda that writes down what happens in which order."""

import contextlib

import pytest
import torch

from diffuser_fast.backends.gpu.graph import Replay

DEVICE = torch.device("cuda", 1)


class Cuda:
    """Streams, devices and graphs as a list of events; ``refuse``: what a capture raises, and when."""

    def __init__(self, refuse=None):
        self.events, self.refuse, self.current = [], refuse, "caller's"
        self.capturing = False

    def Stream(self, device):
        return Stream(self, device)

    def current_stream(self, device):
        assert device == DEVICE
        return self.current

    @contextlib.contextmanager
    def device(self, device):
        self.events.append(f"on {device}")
        yield

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def CUDAGraph(self):
        return Graph(self)


class Stream:
    def __init__(self, cuda, device):
        assert device == DEVICE
        self.cuda = cuda

    def wait_stream(self, other):
        assert not self.cuda.capturing
        self.cuda.events.append(f"wait for the {other} stream")

    def synchronize(self):
        assert not self.cuda.capturing, "a wait inside a capture"
        self.cuda.events.append("synchronize")


class Graph:
    def __init__(self, cuda):
        self.cuda = cuda

    def capture_begin(self, capture_error_mode):
        assert capture_error_mode == "thread_local" and isinstance(self.cuda.current, Stream)
        self.cuda.capturing = True
        self.cuda.events.append("begin")
        if self.cuda.refuse == "begin":
            self.cuda.capturing = False
            raise RuntimeError("operation not permitted\nmore")

    def capture_end(self):
        self.cuda.capturing = False
        self.cuda.events.append("end")
        if self.cuda.refuse in ("end", "work"):
            raise RuntimeError("cannot be instantiated")

    def replay(self):
        assert isinstance(self.cuda.current, Stream)
        self.cuda.events.append("replay")


def made(refuse=None):
    cuda = Cuda(refuse)

    def work():
        assert isinstance(cuda.current, Stream), "work must go to the stream of its own"
        if cuda.capturing and cuda.refuse == "work":
            raise RuntimeError("a kernel cannot be captured")
        cuda.events.append("work")

    replay = Replay(work, DEVICE, cuda)
    setup, cuda.events = cuda.events, []
    return cuda, replay, [event for event in setup if not event.startswith("on ")]


def called(cuda, replay):
    replay()
    events, cuda.events = cuda.events, []
    return events


def test_work_is_run_once_then_captured_and_then_replayed():
    cuda, replay, setup = made()
    assert setup == ["wait for the caller's stream", "work", "synchronize", "begin", "work", "end"]
    assert replay.reason is None
    for _ in range(2):
        # After what the caller's stream holds, on the own stream, one wait at the end.
        assert called(cuda, replay) == ["on cuda:1", "wait for the caller's stream", "replay", "synchronize"]
    assert cuda.current == "caller's"


@pytest.mark.parametrize(
    ("refuse", "why"),
    [("begin", "operation not permitted"), ("work", "a kernel cannot be captured"), ("end", "cannot be instantiated")],
)
def test_a_refused_capture_leaves_plain_launches_and_the_reason(refuse, why):
    cuda, replay, setup = made(refuse)
    assert replay.reason == f"CUDA refused to capture a graph: {why}"
    assert not cuda.capturing and setup[-1] == "synchronize"
    assert called(cuda, replay) == ["on cuda:1", "wait for the caller's stream", "work", "synchronize"]


def test_an_error_of_the_work_itself_is_not_hidden():
    cuda = Cuda()

    def work():
        raise KeyError("no such buffer")

    with pytest.raises(KeyError, match="no such buffer"):
        Replay(work, DEVICE, cuda)
