"""What stands in for the values that Python's and numpy's pickles rebuild by a call: plain data, made here.

A configuration or a training state may hold numpy's numbers and arrays, paths and slices beside what it is read for. In
a pickle each of them is a call of some function with some arguments. Nothing of the original's is called: these
functions are, by the names that the pickle asks for, and they make numbers, arrays, strings and slices alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = "biufcUS"  # numbers and text: numpy's other kinds hold times, records or objects


class Refused(ValueError):
    """The pickle asks for something that is no plain data; the sentence says what."""


class DType:
    """A number's type: numpy's code, then the byte order that the state adds."""

    def __init__(self, code: str, *_: Any) -> None:
        self.dtype = np.dtype(code if isinstance(code, str) and len(code) <= 8 else object)
        if self.dtype.kind not in KINDS:
            raise Refused(f"holds numpy values of type {str(code)[:20]!r}, which are neither numbers nor text")

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """An array still without its numbers, which the state has."""

    def __init__(self, *_: Any) -> None:
        self.array: NDArray = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, DType):
            raise Refused("holds a numpy array of something that is no number")
        flat = np.frombuffer(_bytes(content), kind.dtype)
        self.array = flat.reshape(shape, order="F" if by_columns else "C")

    @property
    def dtype(self) -> np.dtype:
        """Of its numbers."""
        return self.array.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return self.array.astype(self.dtype if dtype is None else dtype)


def from_buffer(content: Any, kind: DType, shape: tuple, order: str, *_: Any) -> Array:
    """A whole array, as protocol 5 has it."""
    made = Array()
    made.__setstate__((1, shape, kind, order == "F", content))
    return made


def scalar(kind: DType, content: Any) -> complex | str:
    """One number or text, as Python's own."""
    if not isinstance(kind, DType):
        raise Refused("holds a numpy value that is no number")
    return np.frombuffer(_bytes(content), kind.dtype)[0].item()


def encode(text: str, encoding: str = "latin1") -> bytes:
    """How pickles of protocol 2 write bytes."""
    if encoding != "latin1":
        raise Refused(f"holds bytes written as {str(encoding)[:20]!r}")
    return text.encode("latin1")


def no_bytes(*content: Any) -> bytes:
    """How old protocols write bytes of length 0."""
    if content:
        raise Refused("asks to call bytes")
    return b""


def _bytes(content: Any) -> bytes:
    return content.encode("latin1") if isinstance(content, str) else content


STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": DType,
    "_codecs.encode": encode,
    "numpy.ndarray": Array,
}
for _builtins in ("builtins", "__builtin__"):
    STAND_INS |= {f"{_builtins}.slice": slice, f"{_builtins}.bytes": no_bytes}
for _core in ("numpy.core", "numpy._core"):
    STAND_INS |= {f"{_core}.multiarray.scalar": scalar, f"{_core}.multiarray._reconstruct": Array}
    STAND_INS |= {f"{_core}.numeric._frombuffer": from_buffer}
for _pathlib in ("pathlib", "pathlib._local"):
    for _name, _kind in (("Posix", PurePosixPath), ("Windows", PureWindowsPath)):
        for _pure in ("", "Pure"):
            STAND_INS[f"{_pathlib}.{_pure}{_name}Path"] = lambda *parts, kind=_kind: str(kind(*parts))
