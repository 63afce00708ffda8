"""What a backend is: a module with ``why_not`` and ``ready``; ``ready`` gives an Engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from numpy.typing import NDArray

from ..core.conditions import Inpainting
from ..core.loop import Result, SamplingLoop


@dataclass(frozen=True)
class Seeded:
    """Noise that the engine draws itself: Philox at (seed, plan, entry, sample, element); see core/noise.py."""

    seed: int
    plan: int


# Or a tape, float32 [R + 1, N, H, D]: entry 0 the first noise, entry k + 1 that of denoising step k.
Noise = Seeded | NDArray


class Engine(Protocol):
    """A SamplingLoop made ready for one device and one batch of N plans. A call waits once, at its end."""

    def __call__(
        self,
        inpainting: Inpainting,
        noise: Noise,
        *,
        x: NDArray | None = None,
        start: int = 0,
        tables: tuple[NDArray, NDArray | None] | None = None,
        candidates: int | None = None,
        chain: bool = False,
    ) -> Result:
        """Denoise N plans at once.

        inpainting: values are ``[1, H, D]`` or ``[N, H, D]``. x: float32 ``[N, H, D]``, the state at entry of denoising
        step ``start`` (warm start, restart); otherwise the first noise. tables: time-embedding tables of this plan
        (denoiser ``[R, S]``, guide's or None), where they depend on a condition. candidates: plans are ranked within
        groups of this many (default N). A number that is not finite raises FloatingPointError naming the denoising
        step.
        """
        ...


class Backend(Protocol):
    """The module-level interface of every backend."""

    def why_not(self, loop: SamplingLoop, device: str | None) -> str | None:
        """A sentence a person understands, or None if this backend can run the loop here."""
        ...

    def ready(
        self,
        loop: SamplingLoop,
        *,
        device: str | None,
        batch: int,
        precision: str,
        threads: int | None = None,
    ) -> Engine:
        """All that happens at load: lowering, packing, memory planning, capture."""
        ...
