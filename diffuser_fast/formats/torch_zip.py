"""torch's zip archives read without torch: records, and tensors as arrays. Nothing in a file can be called.

The pickle inside goes through the machine of unpickle.py, which knows no class. Here it gets what an archive has more:
references to storages, tensors over them, and what dill and OmegaConf write beside. A tensor's bytes are read when it
is asked for, so that an optimizer's state costs nothing.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inert import Refused
from .renamed import readable
from .torch_file import names
from .unpickle import Machine, Name, described

LIMIT = 1 << 24  # bytes of the pickle
MOST_BYTES = 1 << 32  # of one tensor
_DTYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1",
    "BoolStorage": "?",
}  # fmt: skip


@dataclass(frozen=True)
class Storage:
    """Bytes of the archive: a member's name and the type of its numbers."""

    key: str
    dtype: str


@dataclass(frozen=True)
class Tensor:
    """A tensor that has not been read."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Archive:
    """An open archive: ``content``, and ``array`` for the tensors in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        pickles = [name for name in names(path) if name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{path}: a zip archive with {len(pickles)} data.pkl, expected one of torch's")
        self.root = pickles[0].removesuffix("data.pkl")
        data = self._read(pickles[0], LIMIT)
        try:
            self.content = _TorchMachine(LIMIT).run(data)
        except Refused as error:
            raise ValueError(f"{path}: its pickle {error}; only inert records are read, so nothing was run") from None
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, ArithmeticError) as error:
            what = " ".join(str(error).split())[:100]  # which may quote the file
            raise ValueError(f"{path}: its pickle is damaged ({type(error).__name__}: {what})") from None
        except Exception as error:  # struct.error and the like: a damaged pickle raises whatever its bytes lead to
            raise ValueError(f"{path}: its pickle is damaged ({type(error).__name__})") from None

    def array(self, name: str, tensor: Any) -> NDArray:
        """A tensor's numbers, a copy; floating ones at least as float32. ValueError if the bytes are not there."""
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{self.path}: {readable(name)}: found {described(tensor)}, expected a tensor")
        halves = tensor.storage.dtype == "bfloat16"
        dtype = np.dtype("<u2" if halves else tensor.storage.dtype)
        count = math.prod(tensor.shape)
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides)) if count else -1
        stored = self._read(f"{self.root}data/{tensor.storage.key}", MOST_BYTES) if count else b""
        flat = np.frombuffer(stored, dtype, len(stored) // dtype.itemsize)
        if last >= len(flat) or count > len(flat):
            raise ValueError(f"{self.path}: {readable(name)}: asks for more numbers than its storage has, {len(flat)}")
        steps = tuple(s * dtype.itemsize for s in tensor.strides)
        array = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=False)
        if halves:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32 if dtype == np.float16 else dtype)

    def state_dict(self, record: Any, name: str) -> dict[str, NDArray]:
        """A mapping of tensors as arrays; ValueError if it is none."""
        if not isinstance(record, Mapping) or not all(isinstance(key, str) for key in record):
            raise ValueError(f"{self.path}: {name}: found {described(record)}, expected a state dict")
        return {key: self.array(f"{name}.{key}", tensor) for key, tensor in record.items()}

    def _read(self, member: str, limit: int) -> bytes:
        try:
            with zipfile.ZipFile(self.path) as archive:
                info = archive.getinfo(member)
                if info.file_size > limit or info.compress_type != zipfile.ZIP_STORED:  # as torch writes, never packed
                    raise ValueError(
                        f"{self.path}: {readable(member)} has {info.file_size} bytes, or is packed: not read"
                    )
                return archive.read(member)
        except KeyError:
            raise ValueError(f"{self.path}: there is no {readable(member)} in the archive") from None
        except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
            raise ValueError(f"{self.path}: cut short or damaged ({error})") from None


class _TorchMachine(Machine):
    """The pickle machine with storages and tensors."""

    def calls(self) -> Mapping[str, Callable[..., Any]]:
        return super().calls() | _CALLS

    def persistent(self, reference: Any) -> Any:
        if not isinstance(reference, tuple) or len(reference) < 3 or reference[0] != "storage":
            raise Refused("refers to something that is no storage")
        kind, key = reference[1], reference[2]
        dtype = _DTYPES.get(kind.name) if isinstance(kind, Name) and kind.module == "torch" else None
        if dtype is None or not isinstance(key, str):
            raise Refused(f"refers to a storage of {described(kind)}")
        return Storage(key, dtype)

    def build(self, state: Any) -> None:
        # An OrderedDict's own attributes (a state dict's version numbers) are not its items.
        if type(self.stack[-1]) is not dict:
            super().build(state)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    numbers = [offset, *shape, *strides] if isinstance(shape, tuple) and isinstance(strides, tuple) else [None]
    whole = all(type(n) is int and 0 <= n < 1 << 40 for n in numbers)
    if not isinstance(storage, Storage) or not whole or len(shape) != len(strides) or len(shape) > 8:
        raise Refused("makes a tensor out of something else")
    return Tensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _type(name: Any, *_: Any) -> Name:
    return Name("builtins", name if isinstance(name, str) else "?")


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "dill._dill._load_type": _type,
}
