"""What is compiled offline is what Triton asks for when a kernel is launched: the same entries of its cache."""

import types

import pytest
import torch

from bench.problem import problem
from bench.workloads import workloads
from tests.offline.check_kernels import Task, compiled

triton = pytest.importorskip("triton")
from diffuser_fast.backends import triton as backend  # noqa: E402 (needs triton)
from diffuser_fast.backends.triton import launches  # noqa: E402


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A driver that only says what it is: enough to compile for it."""
    from triton.backends.compiler import GPUTarget

    driver = types.SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 90, 32), get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
    )  # fmt: skip
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    assert triton.runtime.driver.active is driver


def test_nothing_is_compiled_on_the_day(monkeypatch, tmp_path, pretended_gpu):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    listed = backend.launch_list(problem(workloads().find("tiny/guided/b2")).loop, batch=2, capability=90)
    chosen = {launch.kernel: launch for launch in listed.launches}  # one of each kernel
    assert len(chosen) >= 6
    heard = []
    monkeypatch.setattr(triton.knobs.compilation, "listener", lambda **said: heard.append(said["cache_hit"]))
    for launch in chosen.values():
        one = launches.specialisation(launch)
        assert compiled(Task(one, 90)).error is None
    assert heard == [False] * len(chosen)
    for launch in chosen.values():
        memory = {ref.buffer: torch.zeros(1 << 20) for ref in launch.pointers.values() if ref is not None}
        launches.bind(launch, memory).compile()
    assert heard == [False] * len(chosen) + [True] * len(chosen)
