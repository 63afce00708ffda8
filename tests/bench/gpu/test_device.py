"""The device's clock and its questions, with a CUDA that only writes down what it is asked."""

import subprocess
import types

import pytest
import torch

from bench.gpu import device
from bench.gpu.device import Cuda, Rehearsal, Turn


class FakeCuda:
    """torch.cuda as far as the ladder uses it; ``said`` is what happened, in order."""

    def __init__(self):
        self.said = []

    def event(self, enable_timing):
        assert enable_timing
        said = self.said

        class Event:
            def record(self):
                said.append("recorded")

            def synchronize(self):
                said.append("event waited for")

            def elapsed_time(self, end):
                return 2.5

        return Event()

    def module(self):
        cuda = types.SimpleNamespace(Event=self.event, synchronize=lambda: self.said.append("waited"))
        return types.SimpleNamespace(cuda=cuda)


@pytest.fixture
def fake(monkeypatch):
    fake = FakeCuda()
    module = fake.module()
    made = Cuda.__new__(Cuda)
    made.torch = module
    made.start, made.end = (module.cuda.Event(enable_timing=True) for _ in range(2))
    return fake, made


def test_device_time_is_between_events(fake):
    said, cuda = fake[0].said, fake[1]
    assert cuda.lap(Turn(lambda: said.append("run"), "device", cuda)) == 2.5
    assert said == ["recorded", "run", "recorded", "event waited for"]


def test_host_time_begins_on_an_idle_device(fake):
    said, cuda = fake[0].said, fake[1]
    assert 0 <= cuda.lap(Turn(lambda: said.append("run"), "host", cuda)) < 1000
    assert said == ["waited", "run"]


def test_a_turn_that_is_not_timed_is_waited_for(fake):
    said, cuda = fake[0].said, fake[1]
    Turn(lambda: said.append("run"), "device", cuda)()
    assert said == ["run", "waited"]


def test_the_cuda_calls_exist():
    """What is called on a GPU is at least there, under these names, in the torch that is installed."""
    for name in ("Event", "Stream", "CUDAGraph", "graph", "stream", "current_stream", "synchronize"):
        assert hasattr(torch.cuda, name)
    assert {"record", "synchronize", "elapsed_time"} <= set(dir(torch.cuda.Event))
    assert "replay" in dir(torch.cuda.CUDAGraph) and "wait_stream" in dir(torch.cuda.Stream)


def test_nvidia_smi_is_read(monkeypatch):
    line = "GPU-aaaa, 580.1, 1980, 1980, 3201, 700.00, 35\nGPU-bbbb, 580.1, 345, 1980, 3201, 700.00, 30\n"
    monkeypatch.setattr(device.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, stdout=line))
    assert device.settings_of("bbbb")["clocks_sm"] == "345"
    assert device.settings_of("")["clocks_sm"] == "1980"
    assert set(device.settings_of("")) == {name.replace(".", "_") for name in device.ASKED[1:]}


def test_without_nvidia_smi_nothing_is_known(monkeypatch):
    def gone(*arguments, **options):
        raise FileNotFoundError

    monkeypatch.setattr(device.subprocess, "run", gone)
    assert set(device.settings_of("").values()) == {None}


@pytest.mark.parametrize(
    ("version", "cuda", "available", "said"),
    [
        ("2.5.1", "12.4", True, "PyTorch 2.5.1 is too old: 2.6"),
        ("2.13.0+cpu", None, False, "built without CUDA"),
        ("2.11.0+cu130", "13.0", False, "finds no NVIDIA GPU"),
    ],
)
def test_why_nothing_can_be_measured(monkeypatch, version, cuda, available, said):
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert said in device.why_not()


def test_a_rehearsal_is_marked():
    assert Rehearsal().rehearsal and Rehearsal().fingerprint()["name"] == "rehearsal"
    assert not Cuda.rehearsal
