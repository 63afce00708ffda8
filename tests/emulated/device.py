"""The emulator as the device of the CUDA engine: its own Python, and its kernels on the host, every access watched."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
from emulated.emulator import CUDA, Emulator, emulator
from numpy.typing import NDArray

from diffuser_fast.backends.cuda.device import Staging
from diffuser_fast.backends.gpu.arguments import Arguments


class Memory:
    """An array that stands for the device's memory."""

    def __init__(self, array: NDArray) -> None:
        self.array, self.pointer = array, array.ctypes.data


class EmulatedDevice:
    """See backends/cuda/device.py. multiprocessors: few, so that stages are cut into few tiles.

    name: of no GPU whose constants are known. shared_bytes: an H100's. seed: of the schedule; without: an ordering that
    is left out (emulator.py).
    """

    def __init__(
        self,
        multiprocessors: int = 2,
        shared_bytes: int = 227 << 10,
        seed: int = 0,
        without: str = "",
        clusters: int = 2,
        name: str = "emulator",
    ) -> None:
        self.clusters, self.name = clusters, name
        self.multiprocessors, self.shared_bytes, self.seed, self.without = multiprocessors, shared_bytes, seed, without
        self._watched: dict[str, NDArray] = {}

    @property
    def emulated(self) -> Emulator:
        return emulator(CUDA / "kernels.cu")

    def holding(self, array: NDArray) -> Memory:
        """See ``Device``."""
        return Memory(np.array(array, order="C"))

    def empty(self, floats: int, name: str) -> Memory:
        """See ``Device``: NaN, and watched."""
        self._watched[name] = np.full(floats, np.nan, np.float32)
        return Memory(self._watched[name])

    def staging(self, words: int, up: int, down: int) -> Staging:
        """See ``Device``."""
        return Staging(np.zeros(words, np.float32), Memory(np.zeros(words, np.float32)), up, down)

    def replay(self, arguments: Arguments, staging: Staging, *, launches: str) -> Callable[[], None]:
        """See ``Device``. AssertionError on whatever the emulator reports."""
        staging.there.array[...] = staging.host

        def run() -> None:
            there, library = staging.there.array, self.emulated.library
            there[: staging.up] = staging.host[: staging.up]
            self.emulated.forget()
            self.emulated.schedule(self.seed, self.without)
            for name, array in self._watched.items():
                self.emulated.watch(name, array, known=False)
            self.emulated.watch("staging", there)
            call = getattr(library, f"df_cuda_{launches}")
            error = call(ctypes.byref(arguments), None)
            reports = self.emulated.report()
            assert not error and not reports, "\n".join(reports) or error
            staging.host[staging.down :] = there[staging.down :]

        run.reason = None
        return run
