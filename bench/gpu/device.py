"""Where the GPU ladder runs and whose clock it reads: a CUDA device, or in a rehearsal the CPU standing in for it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

OLDEST = (2, 6)  # of torch
ASKED = ("uuid", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "temperature.gpu")


@dataclass(frozen=True)
class Turn:
    """What is timed. kind: "device", between two events on the current stream; or "host", by the wall clock, for a call
    that returns when its numpy arrays are there. Called, it runs once and waits for the end."""

    run: Callable[[], Any]
    kind: str
    device: Device

    def __call__(self) -> None:
        self.run()
        self.device.wait()


class Device(Protocol):
    """What the ladder asks of a device; ``name`` is torch's."""

    name: str
    rehearsal: bool

    def lap(self, turn: Turn) -> float:
        """Run a turn once; its milliseconds."""
        ...

    def wait(self) -> None:
        """Until everything that was enqueued is done."""
        ...

    def capture(self, run: Callable[[], Any]) -> Callable[[], Any]:
        """``run`` recorded: calling the result does the same to the same tensors and returns the same tensors."""
        ...

    def staging(self, shape: tuple[int, ...]) -> Any:
        """A float32 tensor in the host's memory that the device can read directly."""
        ...

    def compile_options(self, mode: str) -> dict[str, Any]:
        """Of torch.compile."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """The device, in plain values."""
        ...


class Cuda:
    """The current CUDA device."""

    name = "cuda"
    rehearsal = False

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def lap(self, turn: Turn) -> float:
        if turn.kind == "host":
            self.wait()
            return _wall(turn.run)
        self.start.record()
        turn.run()
        self.end.record()
        self.end.synchronize()
        return self.start.elapsed_time(self.end)

    def wait(self) -> None:
        self.torch.cuda.synchronize()

    def capture(self, run: Callable[[], Any]) -> Callable[[], Any]:
        cuda = self.torch.cuda
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

        def replay() -> Any:
            graph.replay()
            return found

        return replay

    def staging(self, shape: tuple[int, ...]) -> Any:
        return self.torch.empty(shape, dtype=self.torch.float32, pin_memory=True)

    def compile_options(self, mode: str) -> dict[str, Any]:
        return {"mode": mode}

    def fingerprint(self) -> dict[str, Any]:
        p = self.torch.cuda.get_device_properties(self.torch.cuda.current_device())
        return {
            "name": p.name, "capability": f"{p.major}.{p.minor}", "multiprocessors": p.multi_processor_count,
            "memory_gib": round(p.total_memory / 2**30, 1), "cuda": self.torch.version.cuda,
            "cudnn": self.torch.backends.cudnn.version(), **settings_of(str(getattr(p, "uuid", ""))),
        }  # fmt: skip


class Rehearsal:
    """The CPU, with a wall clock for events and the call itself for a graph: the same code path, meaningless times."""

    name = "cpu"
    rehearsal = True

    def lap(self, turn: Turn) -> float:
        return _wall(turn.run)

    def wait(self) -> None:
        """Nothing is ever under way."""

    def capture(self, run: Callable[[], Any]) -> Callable[[], Any]:
        return run

    def staging(self, shape: tuple[int, ...]) -> Any:
        import torch

        return torch.empty(shape, dtype=torch.float32)

    def compile_options(self, mode: str) -> dict[str, Any]:
        return {"backend": "eager"}  # captured whole, as by every mode, but run by torch's own kernels

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "rehearsal", "capability": "0.0", "multiprocessors": 1, "memory_gib": None, "cuda": None}


def why_not() -> str | None:
    """Why nothing can be measured here, in a sentence, or None."""
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed in this Python (make gpu PYTHON=... names another)"
    version = torch.__version__.split("+")[0]
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return f"PyTorch {version} is too old: {'.'.join(map(str, OLDEST))} is the oldest that this project supports"
    if torch.version.cuda is None:
        return f"this PyTorch ({torch.__version__}) was built without CUDA (make gpu PYTHON=... names another Python)"
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} finds no NVIDIA GPU: none is there, or its driver is missing or too old"
    try:
        torch.zeros(1, device="cuda").add_(1)
        torch.cuda.synchronize()
    except RuntimeError as error:
        return f"the GPU does not run PyTorch {torch.__version__}: {str(error).splitlines()[0]}"
    return None


def settings_of(uuid: str) -> dict[str, str | None]:
    """Driver, clocks (MHz), power limit (W) and temperature as nvidia-smi says them; None each where it does not."""
    unknown: dict[str, str | None] = {name.replace(".", "_"): None for name in ASKED[1:]}
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return unknown
    lines = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    ours = [cells for cells in lines if uuid and uuid in cells[0]] or lines
    return dict(zip(unknown, ours[0][1:], strict=True)) if ours and len(ours[0]) == len(ASKED) else unknown


def _wall(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1e3
