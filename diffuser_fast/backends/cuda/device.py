"""The device that an engine's memory and kernels are on: a GPU through ``_cuda``; in tests the host's emulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..gpu.arguments import Arguments

try:
    from ... import _cuda
except ImportError as error:
    _cuda, MISSING = None, str(error)
else:
    MISSING = None

LEAST_CAPABILITY = 80


class Buffer(Protocol):
    """A piece of the device's memory, as long as this is kept."""

    pointer: int


class Device(Protocol):
    """name: of its kind. multiprocessors: how many thread blocks run at the same time, at least; clusters: how many
    clusters of eight, 0 where there are none. shared_bytes: of shared memory that a block may have."""

    name: str
    multiprocessors: int
    clusters: int
    shared_bytes: int

    def holding(self, array: NDArray) -> Buffer:
        """The numbers of an array, which no kernel writes."""
        ...

    def empty(self, floats: int, name: str) -> Buffer:
        """Memory to work in."""
        ...

    def replay(self, arguments: Arguments, staging: Staging, *, launches: str) -> Callable[[], None]:
        """A plan as a call that waits once, at its end; its ``reason`` says why it is no graph, or is None."""
        ...

    def staging(self, words: int, up: int, down: int) -> Staging:
        """Staging memory of a plan."""
        ...


@dataclass(frozen=True, eq=False)
class Staging:
    """host: float32 words, of which a plan uploads the first ``up`` and downloads those from ``down`` on. there: the
    same on the device; handle: whoever owns the host's."""

    host: NDArray[np.float32]
    there: Buffer
    up: int
    down: int
    handle: Any = None


class Gpu:
    """A CUDA device by number."""

    def __init__(self, number: int) -> None:
        found = _cuda.properties(number)
        self.number, self.name, self.capability = number, found["name"], found["capability"]
        self.multiprocessors, self.shared_bytes = found["multiprocessors"], found["shared_bytes"]
        # One less than the number says: an H100 of 132 was seen to hold 15, for some of its parts have fewer.
        self.clusters = max(1, self.multiprocessors // 8 - 1) if self.capability >= 90 else 0

    def holding(self, array: NDArray) -> Buffer:
        """See ``Device``."""
        array = np.ascontiguousarray(array)
        memory = _cuda.Memory(self.number, array.nbytes)
        memory.upload(array)
        return memory

    def empty(self, floats: int, name: str) -> Buffer:
        """See ``Device``."""
        return _cuda.Memory(self.number, 4 * floats)

    def staging(self, words: int, up: int, down: int) -> Staging:
        """See ``Device``."""
        host = _cuda.Host(words)
        return Staging(np.asarray(host), _cuda.Memory(self.number, 4 * words), up, down, host)

    def replay(self, arguments: Arguments, staging: Staging, *, launches: str) -> Callable[[], None]:
        """See ``Device``."""
        staging.there.upload(staging.host)
        return _cuda.Replay(
            self.number, bytes(arguments), launches, staging.handle, staging.there, staging.up, staging.down
        )


def numbered(device: str | None) -> int:
    """ "cuda:1" -> 1; ValueError on what is no CUDA device's name."""
    name, _, number = (device or "cuda:0").partition(":")
    if name != "cuda" or (number and not number.isdigit()):
        raise ValueError(f"device: found {device!r}, expected 'cuda' or 'cuda:1'")
    return int(number or 0)


def why_not(device: str | None) -> str | None:
    """A sentence, or None where the engine is built and such a device is there."""
    if MISSING:
        return (
            f"the CUDA engine is not built ({MISSING}); reinstall diffuser-fast where there is nvcc "
            "(DIFFUSER_FAST_BUILD=cpu,cuda makes a failing build say why)"
        )
    try:
        number = numbered(device)
    except ValueError:
        return f"the CUDA engine runs on CUDA devices, not on {device!r}"
    if (reason := _cuda.why_not()) is not None:
        return f"CUDA cannot be used: {reason}"
    try:
        capability = Gpu(number).capability
    except RuntimeError as error:
        return f"CUDA cannot be used: {error}"
    if capability < LEAST_CAPABILITY:
        major, minor = divmod(capability, 10)
        return f"the GPU has compute capability {major}.{minor}; the kernels are made for 8.0 and newer"
    return None
