"""How a network is told of the denoising step: sines and cosines of it, then a small MLP.

Source: Vaswani et al. 2017, section 3.5. Relatives of the original differ in which comes first, in how the frequencies
end and in the widths; each of them is numbers here, so that one program does for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ops import ACTS
from .scalars import flag, shown, whole


@dataclass(frozen=True)
class Embedding:
    """Sines and cosines ``[width]``, a dense layer to ``hidden``, the activation ``act``, a dense layer to ``out``.

    Frequencies are 10000^(-k / (width / 2 - shift)), k = 0 .. width / 2 - 1. cosines_first: they stand before the
    sines. whole: frequencies are cut to whole numbers (1, 0, 0, ...), as where they are cast to the type of a whole t.
    """

    width: int
    hidden: int
    out: int
    cosines_first: bool = False
    shift: int = 1
    whole: bool = False
    act: str = "mish"

    def __post_init__(self) -> None:
        for name in ("width", "hidden", "out"):
            object.__setattr__(self, name, whole(f"embedding: {name}", getattr(self, name), 1, 1 << 16))
        object.__setattr__(self, "shift", whole("embedding: shift", self.shift, 0, 1))
        for name in ("cosines_first", "whole"):
            object.__setattr__(self, name, flag(f"embedding: {name}", getattr(self, name)))
        if self.width % 2 or self.width // 2 <= self.shift:
            raise ValueError(f"embedding: width: found {self.width}, expected an even number, at least 4")
        if self.act not in ACTS:
            raise ValueError(f"embedding: act: found {shown(self.act)}, expected one of {', '.join(ACTS)}")

    @classmethod
    def of_width(cls, dim: int) -> Embedding:
        """The original's: ``dim`` numbers in and out, four times as many between."""
        return cls(dim, 4 * dim, dim)

    def __call__(self, t: NDArray) -> NDArray[np.float64]:
        """Sines and cosines of ``t [R]``: ``[R, width]``."""
        half = self.width // 2
        frequencies = 10000.0 ** (-np.arange(half) / (half - self.shift))
        angle = np.asarray(t, np.float64)[:, None] * (np.trunc(frequencies) if self.whole else frequencies)
        parts = (np.cos(angle), np.sin(angle)) if self.cosines_first else (np.sin(angle), np.cos(angle))
        return np.concatenate(parts, axis=1)
