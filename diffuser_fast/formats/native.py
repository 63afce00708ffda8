"""The package's own file: safetensors with one JSON record in its metadata. Written whole or not at all, without torch.

Tensors are ``unet.<name>``, ``value.<name>`` and ``inverse.<name>`` (names as in core/lower.py), and
``schedule.<buffer>`` in float64.
The metadata has one key, ``diffuser-fast``, so that the same checkpoint always gives the same bytes:

    {"format": "diffuser-fast", "version": 2, "dtype": "float32", "unet": spec, "value": spec or null,
     "prediction": "x0", "clip_denoised": false, "clip_range": 1, "action_dim": 3, "guide": {...}, "sampling": {...},
     "acting": {...}, "condition_weight": 1, "inverse": spec or null, "normalizers": {...} or null, "metadata": {...}}

Long statistics are tensors too, ``normalizers.<name>`` (see statistics.py). Version 1 had none of clip_range,
sampling, acting, condition_weight and inverse, and is read as having the original's.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from ..core.checkpoint import Acting, Checkpoint, Weights
from ..core.contents import START, looks_like
from ..core.guidance import Guide
from ..core.samplers import Sampling
from ..core.schedule import BUFFERS, Schedule
from ..core.spec import spec_from_json, spec_to_json
from ..core.spelling import setting
from ..core.whole_file import write_whole
from . import statistics

NETWORKS = ("unet", "value", "inverse")
FORMAT, VERSION = "diffuser-fast", 2
DTYPES = {"float32": np.float32, "float16": np.float16}
# What Checkpoint takes on trust, as JSON must have it.
_KINDS = {"action_dim": int, "clip_denoised": bool, "guide": dict, "metadata": dict}
_ADDED_IN_2 = {"clip_range": 1.0, "sampling": {}, "acting": {}, "condition_weight": 1.0, "inverse": None}
MAX_HEADER = 100_000_000  # bytes; what the safetensors reader itself allows


def save(checkpoint: Checkpoint, path: str | os.PathLike[str], *, dtype: str = "float32") -> Path:
    """Write ``checkpoint`` to ``path``, whole or not at all, and return the path.

    dtype: of the weights, "float32" or "float16" (half the size; ``load`` widens it again). Schedule and statistics
    keep their full precision. Raises ValueError before anything is written: an unknown dtype, weights beyond
    float16's range, metadata that JSON cannot hold. A process killed while writing, or a full disk (OSError), leaves
    the file that was there before.
    """
    normalizers, curves = statistics.pack(checkpoint.normalizers)
    record = {
        "unet": spec_to_json(checkpoint.unet.spec),
        "value": None if checkpoint.value is None else spec_to_json(checkpoint.value.spec),
        "prediction": checkpoint.prediction,
        "clip_denoised": bool(checkpoint.clip_denoised),
        "action_dim": int(checkpoint.action_dim),
        "clip_range": checkpoint.clip_range,
        "guide": asdict(checkpoint.guide),
        "sampling": asdict(checkpoint.sampling),
        "acting": asdict(checkpoint.acting),
        "condition_weight": checkpoint.condition_weight,
        "inverse": None if checkpoint.inverse is None else spec_to_json(checkpoint.inverse.spec),
        "normalizers": normalizers,
        "metadata": dict(checkpoint.metadata),
    }
    parts = {"unet": checkpoint.unet, "value": checkpoint.value, "inverse": checkpoint.inverse}
    return _save(record, parts, checkpoint.schedule, path, dtype, curves)


def save_value(
    value: Weights,
    schedule: Schedule,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any],
    dtype: str = "float32",
) -> Path:
    """Write a value network by itself, for ``load(planner, value=path)``. Errors and promises as of ``save``."""
    record = {"unet": None, "value": spec_to_json(value.spec), "metadata": dict(metadata)}
    return _save(record, {"value": value}, schedule, path, dtype)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a file that ``save`` wrote.

    Raises ValueError in one sentence that names the file: not safetensors, cut short, safetensors of another
    program, a newer format version, fields or tensors missing or of another shape; FileNotFoundError.
    """
    path = Path(path)
    record, tensors = _read(path)
    if record.get("unet", "") is None:
        cure = setting("value", "path", str(path), call="load(planner, {})")
        raise ValueError(f"{path}: it holds a value network only; {cure} takes it")
    with _naming(path):
        return _checkpoint(record, tensors)


def load_value(path: str | os.PathLike[str]) -> tuple[Weights, Schedule, dict[str, Any]]:
    """The value network of a file, its schedule and the file's metadata. Errors as of ``load``."""
    path = Path(path)
    record, tensors = _read(path)
    with _naming(path):
        if record["value"] is None:
            raise ValueError("it has no value network")
        parts = _parts(record, tensors)
        weights = _weights("value", record["value"], parts["value"])
        return weights, Schedule.from_buffers(parts["schedule"]), record["metadata"]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
    header = read_header(path)
    return _read_record(path, header), read_safetensors(path, header)


def read_safetensors(path: Path, header: Mapping[str, Any]) -> dict[str, NDArray]:
    """Every tensor of a file with this header, bfloat16 as float32; ValueError names the file."""
    halves = {name: entry for name, entry in header.items() if name != "__metadata__" and entry.get("dtype") == "BF16"}
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys() if name not in halves}  # noqa: SIM118
        return tensors | {name: _bfloat16(path, entry) for name, entry in halves.items()}
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{path}: its tensors cannot be read ({error})") from None


def _bfloat16(path: Path, entry: Mapping[str, Any]) -> NDArray[np.float32]:
    """A tensor in the upper halves of float32 numbers, which numpy has no type for (someone cast the file)."""
    start, stop = entry["data_offsets"]
    with open(path, "rb") as file:
        data = 8 + int.from_bytes(file.read(8), "little")
    halves = np.fromfile(path, "<u2", (stop - start) // 2, offset=data + start)
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors about a record or its tensors, in one sentence that names the file."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: its header is damaged ({type(error).__name__}: {error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON header of a safetensors file: ``__metadata__``, and dtype, shape and data_offsets of each tensor.

    Raises ValueError, naming the file, if it is not safetensors or is shorter than its header says.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        text = file.read(length if length <= MAX_HEADER else START)
    if length < 2 or length > MAX_HEADER or text[:1] != b"{":
        looks = looks_like((start + text)[:START])
        why = f"it looks like {looks}" if looks != "nothing known" else "it does not start with a JSON header"
        raise ValueError(f"{path}: not a safetensors file ({why})")
    if len(text) < length:
        raise ValueError(f"{path}: cut short; it has {size} bytes, its header alone needs {8 + length}")
    try:
        header = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        needed = 8 + length + max(ends, default=0)
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
        raise ValueError(f"{path}: not a safetensors file (its header is not a table of tensors)") from None
    if size < needed:
        raise ValueError(f"{path}: cut short; it has {size} bytes, its header asks for {needed}")
    return header


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    """Whether a file starts like safetensors (it may still be foreign, or cut short)."""
    with open(path, "rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= MAX_HEADER


def is_native(path: Path) -> bool:
    """Whether a safetensors file's header says that it is the package's own; of a damaged one too."""
    try:
        metadata = read_header(path).get("__metadata__")
    except ValueError:
        return True  # and its reader says what is wrong
    return isinstance(metadata, Mapping) and FORMAT in metadata


def _save(
    record: Mapping[str, Any], parts: Mapping[str, Weights | None], schedule: Schedule, path: str | os.PathLike[str],
    dtype: str, curves: Mapping[str, NDArray] = MappingProxyType({}),
) -> Path:  # fmt: skip
    path = Path(path)
    if dtype not in DTYPES:
        raise ValueError(f"dtype: found {dtype!r}, expected one of {', '.join(DTYPES)}")
    tensors: dict[str, NDArray] = {}
    for part, weights in parts.items():
        if weights is not None:
            tensors |= {f"{part}.{name}": _narrow(f"{part}.{name}", a, dtype) for name, a in weights.arrays.items()}
    buffers = BUFFERS + ("times",) * (schedule.times is not None)
    tensors |= {f"schedule.{name}": np.array(getattr(schedule, name)) for name in buffers}
    tensors |= {f"normalizers.{name}": array for name, array in curves.items()}
    try:  # numbers are written in full: they read back to the same float64
        text = json.dumps(
            {"format": FORMAT, "version": VERSION, "dtype": dtype, **record}, allow_nan=False, default=_plain
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata: must be plain JSON values, to be written to a file ({error})") from None
    write_whole(path, safetensors.save(tensors, metadata={FORMAT: text}))
    return path


def _plain(value: object) -> object:
    if isinstance(value, np.generic):  # a numpy number is as good as Python's
        return value.item()
    raise TypeError(f"found {type(value).__name__}")


def _read_record(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    metadata = header.get("__metadata__")
    text = metadata.get(FORMAT) if isinstance(metadata, Mapping) else None
    if not isinstance(text, str):
        some = ", ".join(sorted(header.keys() - {"__metadata__"})[:3]) or "no tensors"
        raise ValueError(f"{path}: safetensors of another program (it holds {some}), expected one of {FORMAT}")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path}: its {FORMAT} header is damaged (not the JSON record it should be)")
    version = record.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{path}: its format version is {version!r}, expected a whole number")
    if version > VERSION:
        raise ValueError(
            f"{path}: its format version is {version}, this release reads up to {VERSION}; "
            "a newer diffuser-fast will (pip install -U diffuser-fast)"
        )
    return record


def _checkpoint(record: Mapping[str, Any], tensors: Mapping[str, NDArray]) -> Checkpoint:
    """Raises KeyError, TypeError or ValueError on anything that does not fit."""
    parts = _parts(record, tensors)
    record = _ADDED_IN_2 | record if record["version"] == 1 else record
    for name, kind in _KINDS.items():
        if type(record[name]) is not kind:
            raise ValueError(f"{name} is {record[name]!r} in its header, expected {kind.__name__}")
    return Checkpoint(
        unet=_weights("unet", record["unet"], parts["unet"]),
        value=None if record["value"] is None else _weights("value", record["value"], parts["value"]),
        schedule=Schedule.from_buffers(parts["schedule"]),
        action_dim=record["action_dim"],
        prediction=record["prediction"],
        clip_denoised=record["clip_denoised"],
        guide=Guide(**record["guide"]),
        clip_range=record["clip_range"],
        sampling=Sampling(**record["sampling"]),
        acting=Acting(**record["acting"]),
        condition_weight=record["condition_weight"],
        inverse=None if record["inverse"] is None else _weights("inverse", record["inverse"], parts["inverse"]),
        normalizers=statistics.unpack(record["normalizers"], parts["normalizers"]),
        metadata=record["metadata"],
    )


def _parts(record: Mapping[str, Any], tensors: Mapping[str, NDArray]) -> dict[str, dict[str, NDArray]]:
    parts: dict[str, dict[str, NDArray]] = {name: {} for name in (*NETWORKS, "schedule", "normalizers")}
    for name, array in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts or not rest or (part != "schedule" and record.get(part) is None):
            raise ValueError(f"tensor {name} is none that the header speaks of")
        parts[part][rest] = array
    return parts


def _weights(part: str, spec: dict[str, Any], arrays: Mapping[str, NDArray]) -> Weights:
    try:
        return Weights(spec_from_json(spec), {name: a.astype(np.float32) for name, a in arrays.items()})
    except ValueError as error:
        raise ValueError(f"{part}: {error}") from None


def _narrow(name: str, array: NDArray[np.float32], dtype: str) -> NDArray:
    with np.errstate(over="ignore"):
        narrow = array.astype(DTYPES[dtype])
    if not np.isfinite(narrow).all():
        largest = float(np.abs(array).max())
        raise ValueError(f"dtype: {name} holds {largest:.6g}, {dtype} ends at {np.finfo(narrow.dtype).max}")
    return narrow
