"""Places in a device's memory by name, before there is any."""

from __future__ import annotations

from dataclasses import dataclass, replace

_SIZES = {"float32": 4, "int32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Ref:
    """A place in a buffer: its name, the offset in elements, and their type (int32 may lie among float32)."""

    buffer: str
    offset: int = 0
    dtype: str = "float32"

    def __add__(self, elements: int) -> Ref:
        return replace(self, offset=self.offset + elements)

    @property
    def aligned(self) -> bool:
        """Whether the address is a multiple of 16 bytes; buffers begin at one."""
        return self.offset * _SIZES[self.dtype] % 16 == 0

    def __str__(self) -> str:
        return f"{self.buffer}+{self.offset}"


@dataclass(frozen=True)
class ValueRef:
    """Where a value ``[B, H, C]`` lies in memory: its first element, and elements from one row to the next."""

    ref: Ref
    ld: int

    def columns(self, first: int) -> ValueRef:
        """The same rows from channel ``first`` on."""
        return ValueRef(self.ref + first, self.ld)
