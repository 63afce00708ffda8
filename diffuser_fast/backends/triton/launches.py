"""Launches as plain data: which kernel, which grid, which buffers, which constants. Nothing here touches a device.

A ``Launch`` names buffers and offsets; ``bind`` turns it, given the buffers, into a call without arguments. So the same
list can be printed, counted, compiled for another machine, run by Triton's interpreter on the CPU, or captured.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from triton.runtime.jit import JITFunction

from ...kernels import attention, conv, norm, pointwise, ranking, trajectory
from ..gpu.refs import Ref

KERNELS = {
    "conv": conv.conv,
    "group_norm": norm.group_norm,
    "channel_norm": norm.channel_norm,
    "pointwise": pointwise.pointwise,
    "linear_attention": attention.linear_attention,
    "begin": trajectory.begin,
    "guidance_update": trajectory.guidance_update,
    "update": trajectory.update,
    "rank": ranking.rank,
}
_TYPES = {"float32": "*fp32", "int32": "*i32", "float16": "*fp16", "bfloat16": "*bf16"}


@dataclass(frozen=True, eq=False)
class Launch:
    """kernel: a name of ``KERNELS``. pointers: argument -> Ref or None. scalars: integers. constants: constexprs."""

    kernel: str
    grid: tuple[int, int, int]
    pointers: Mapping[str, Ref | None]
    constants: Mapping[str, Any]
    scalars: Mapping[str, int] = field(default_factory=dict)
    warps: int = 4
    stages: int = 1

    @property
    def instances(self) -> int:
        """How many program instances it starts."""
        return math.prod(self.grid)

    def __str__(self) -> str:
        pointers = " ".join(f"{name}={ref}" for name, ref in self.pointers.items() if ref is not None)
        numbers = " ".join(f"{name}={value}" for name, value in (*self.scalars.items(), *self.constants.items()))
        return f"{self.kernel}{list(self.grid)} warps={self.warps} {pointers} | {numbers}"


@dataclass(frozen=True)
class Specialisation:
    """What a launch needs compiled: ``triton.compile(ASTSource(kernel, signature, constexprs, attrs), ...)``."""

    kernel: JITFunction
    signature: dict[str, str] = field(hash=False, compare=False)
    constexprs: dict[str, Any] = field(hash=False, compare=False)
    attrs: dict[tuple[int], list] = field(hash=False, compare=False)
    options: dict[str, Any] = field(hash=False, compare=False)
    key: str = ""


def specialisation(launch: Launch) -> Specialisation:
    """As Triton's just-in-time compiler specialises this launch: pointers by their alignment, None as a constant."""
    kernel = KERNELS[launch.kernel]
    signature, constexprs, attrs = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        ref = launch.pointers.get(name)
        if ref is not None:
            signature[name] = _TYPES[ref.dtype]
            if ref.aligned:
                attrs[(i,)] = [["tt.divisibility", 16]]
        elif name in launch.scalars:
            signature[name] = "i32"
        else:
            signature[name] = "constexpr"
            constexprs[name] = launch.constants.get(name)
    options = _options(launch)
    key = repr((launch.kernel, signature, constexprs, sorted(attrs), options))
    return Specialisation(kernel, signature, constexprs, attrs, options, key)


def without_overlap(launches: Iterable[Launch]) -> list[Launch]:
    """The same launches, each of which waits for the one before it to have ended (no programmatic dependent launch)."""
    return [replace(launch, constants={**launch.constants, "PDL": False}) for launch in launches]


def distinct(launches: Iterable[Launch]) -> list[Specialisation]:
    """The specialisations of a list of launches, each once, in order of first use."""
    return list({found.key: found for found in map(specialisation, launches)}.values())


@dataclass(frozen=True, eq=False)
class Call:
    """A launch bound to memory. Calling it enqueues it and allocates nothing: its pointers are views made once."""

    kernel: JITFunction
    grid: tuple[int, int, int]
    arguments: Mapping[str, Any]

    def __call__(self) -> None:
        self.kernel[self.grid](**self.arguments)

    def compile(self) -> None:
        """Compile the kernel for the current device, without launching it, unless that has been done."""
        self.kernel.warmup(grid=self.grid, **self.arguments)


def bind(launch: Launch, memory: Mapping[str, Tensor]) -> Call:
    """The launch over these buffers. What it names no pointer for is None."""
    kernel = KERNELS[launch.kernel]
    arguments = dict.fromkeys(kernel.arg_names) | dict(launch.scalars) | dict(launch.constants) | _options(launch)
    arguments |= {name: _view(memory, ref) for name, ref in launch.pointers.items() if ref is not None}
    return Call(kernel, launch.grid, arguments)


def compile_all(launches: Sequence[Launch], memory: Mapping[str, Tensor], device: torch.device) -> None:
    """Compile everything that the launches need, on all cores: one after another it would take minutes the first time
    (Triton keeps what it compiled in its cache on disk)."""

    def one(launch: Launch) -> None:
        with torch.cuda.device(device):  # a thread starts on device 0
            bind(launch, memory).compile()

    needed = {specialisation(launch).key: launch for launch in launches}
    with ThreadPoolExecutor(min(len(needed), os.cpu_count() or 1)) as pool:
        list(pool.map(one, needed.values()))


def _options(launch: Launch) -> dict[str, Any]:
    options = {"num_warps": launch.warps, "num_stages": launch.stages}
    return options | {"launch_pdl": True} if launch.constants.get("PDL") else options


def _view(memory: Mapping[str, Tensor], ref: Ref) -> Tensor:
    buffer, dtype = memory[ref.buffer], getattr(torch, ref.dtype)
    if buffer.dtype != dtype:
        buffer = buffer.view(dtype)
    assert ref.offset < len(buffer), f"{ref} lies outside its buffer of {len(buffer)}"
    return buffer[ref.offset :]
