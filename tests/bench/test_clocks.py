"""The clocks, with a CUDA that only writes down what it is asked."""

import pytest

from bench.clocks import CLOCKS, CudaEvents, WallClock

torch = pytest.importorskip("torch")


@pytest.fixture
def said(monkeypatch):
    """What happened, in order."""
    said = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            said.append("recorded")

        def synchronize(self):
            said.append("event waited for")

        def elapsed_time(self, end):
            return 2.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: said.append("waited"))
    return said


def test_device_time_is_between_events(said):
    timed = CudaEvents().timed(lambda: said.append("run"), lambda: said.append("loop"))
    assert timed["device"].lap(timed["device"].call) == 2.5
    assert said == ["recorded", "loop", "recorded", "event waited for"]


def test_host_time_begins_on_an_idle_device(said):
    timed = CudaEvents().timed(lambda: said.append("run"), lambda: said.append("loop"))
    assert 0 <= timed["host"].lap(timed["host"].call) < 1000
    assert said == ["waited", "run"]


def test_a_cpu_has_one_clock_and_a_rehearsal_reads_it_twice():
    assert {name: list(clock().timed(list)) for name, clock in CLOCKS.items()} == {
        "cpu": ["host"], "cuda": ["host", "device"], "rehearsal": ["host", "device"],
    }  # fmt: skip
    run = object()
    assert WallClock().capture(run) is run and CLOCKS["rehearsal"].device == "cpu"


def test_the_cuda_calls_exist():
    """What is called on a GPU is at least there, under these names, in the torch that is installed."""
    for name in ("Event", "Stream", "CUDAGraph", "graph", "stream", "current_stream", "synchronize"):
        assert hasattr(torch.cuda, name)
    assert {"record", "synchronize", "elapsed_time"} <= set(dir(torch.cuda.Event))
    assert "replay" in dir(torch.cuda.CUDAGraph) and "wait_stream" in dir(torch.cuda.Stream)
