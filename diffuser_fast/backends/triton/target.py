"""What kernels are made for: a GPU of some compute capability, or Triton's interpreter; and in which precision."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .tiling import ProblemSize, Tiling, gpu_tiling, interpreter_tiling, power

# Triton reads this variable when it decorates a kernel, so it is settled once a kernel has been imported.
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")

# precision -> operand type in memory and registers, how a dot of float32 is made, whether exponentials are exact
PRECISIONS = {
    "float32": ("float32", "ieee", True),
    "float32-close": ("float32", "tf32x3", True),
    "tf32": ("float32", "tf32", False),
    "fp16": ("float16", "ieee", False),
    "bf16": ("bfloat16", "ieee", False),
}
# Gradients are scaled by this power of two, and gx and g0 by its inverse, so that small ones do not vanish in float16.
GRADIENT_SCALE = {"fp16": 64.0}


@dataclass(frozen=True)
class Target:
    """precision: a key of ``PRECISIONS``. capability: of the GPU, 90 for sm_90; None is the interpreter."""

    precision: str = "float32"
    capability: int | None = None

    def __post_init__(self) -> None:
        assert self.precision in PRECISIONS, self.precision

    @property
    def operand(self) -> str:
        """Type of convolutions' operands; sums are float32."""
        return PRECISIONS[self.precision][0]

    @property
    def dot(self) -> str:
        """Triton's ``input_precision``."""
        return PRECISIONS[self.precision][1]

    @property
    def exact(self) -> bool:
        """Whether exponentials are good to the last place."""
        return PRECISIONS[self.precision][2]

    @property
    def gradient_scale(self) -> float:
        """What the guide's gradient is multiplied by on its way."""
        return GRADIENT_SCALE.get(self.precision, 1.0)

    @property
    def interpreted(self) -> bool:
        """Whether the interpreter runs it."""
        return self.capability is None

    @property
    def pdl(self) -> bool:
        """Programmatic dependent launch: a kernel may start while the one before it ends (from sm_90 on)."""
        return self.capability is not None and self.capability >= 90

    def tiling(self, problem: ProblemSize) -> Tiling:
        """How a convolution is cut into program instances."""
        return interpreter_tiling(problem) if self.interpreted else gpu_tiling(problem, self.capability)

    def row_tile(self, rows: int, columns: int) -> int:
        """Rows of an elementwise program instance over this many (padded) columns."""
        return min(power(rows), max(1, (1 << 18 if self.interpreted else 1024) // columns))

    def group_tile(self, batch: int, length: int, groups: int, width: int) -> tuple[int, int]:
        """Samples and groups of a program instance of a norm that stands alone; length and width padded."""
        most = 1 << 18 if self.interpreted else 4096
        gb = min(power(groups), max(1, most // (length * width)))
        return min(power(batch), max(1, most // (length * width * gb))), gb
