"""Weights as the kernels read them: one buffer of convolutions in the operand type, one of float32 vectors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..gpu.refs import Ref

ALIGN = 64  # elements


def pack(weight: NDArray, transposed: bool, *, bk: int, cg: int, cp: int, columns: int) -> NDArray[np.float32]:
    """A convolution's ``[out, in, k]`` (``[in, out, k]`` if transposed) as ``[k, in padded to bk, columns]``.

    Channel c out is column ``c // cg * cp + c % cg``: cg channels to a group, which is cp columns wide. So a program
    instance reads bk rows of neighbouring columns, whatever the groups, and never needs a mask: padding is zero.
    """
    weight = np.asarray(weight, np.float32)
    k_in_out = weight.transpose(2, 0, 1) if transposed else weight.transpose(2, 1, 0)
    k, channels, out = k_in_out.shape
    packed = np.zeros((k, -(-channels // bk) * bk, columns), np.float32)
    packed[:, :channels, _columns(out, cg, cp)] = k_in_out
    return packed


def unpack(packed: NDArray, out: int, channels: int, transposed: bool, *, cg: int, cp: int) -> NDArray[np.float32]:
    """The inverse of ``pack``: ``out`` and ``channels`` are the numbers of channels out and in."""
    k_in_out = packed[:, :channels, _columns(out, cg, cp)]
    return np.ascontiguousarray(k_in_out.transpose(1, 2, 0) if transposed else k_in_out.transpose(2, 1, 0))


def _columns(out: int, cg: int, cp: int) -> NDArray[np.int64]:
    c = np.arange(out)
    return c // cg * cp + c % cg


class Store:
    """Collects the weights of several launches, each once; ``memory`` makes the buffers that the Refs point into."""

    def __init__(self, operand: str) -> None:
        self.operand = operand
        self._parts: dict[str, list[Tensor]] = {"convolutions": [], "vectors": []}
        self._sizes = {"convolutions": 0, "vectors": 0}
        self._refs: dict[tuple, Ref] = {}

    def vector(self, weights: Mapping[str, NDArray], name: str) -> Ref:
        """One number per channel, float32."""
        key = (id(weights), name)
        if key not in self._refs:
            self._refs[key] = self._add("vectors", torch.from_numpy(np.array(weights[name], np.float32).ravel()))
        return self._refs[key]

    def convolution(self, weights: Mapping[str, NDArray], name: str, transposed: bool, **layout: int) -> Ref:
        """A packed convolution. ValueError, naming it, if it holds numbers that the operand type cannot."""
        key = (id(weights), name, transposed, *layout.items())
        if key not in self._refs:
            packed = torch.from_numpy(pack(weights[name], transposed, **layout))
            narrow = packed.to(getattr(torch, self.operand))
            if not torch.isfinite(narrow).all():
                largest, most = packed.abs().max().item(), torch.finfo(narrow.dtype).max
                raise ValueError(
                    f"precision: {self.operand} holds numbers up to {most:g}, and weight {name!r} has one of "
                    f"{largest:g}; use 'bf16', 'tf32' or 'float32'"
                )
            self._refs[key] = self._add("convolutions", narrow.ravel())
        return self._refs[key]

    def memory(self, device: torch.device | str) -> dict[str, Tensor]:
        """The buffers by name."""
        return {name: torch.cat([*parts, self._tail(name)]).to(device) for name, parts in self._parts.items()}

    def _add(self, buffer: str, flat: Tensor) -> Ref:
        ref = Ref(buffer, self._sizes[buffer], str(flat.dtype).removeprefix("torch."))
        padding = -len(flat) % ALIGN
        self._parts[buffer].append(torch.cat([flat, flat.new_zeros(padding)]))
        self._sizes[buffer] += len(flat) + padding
        return ref

    def _tail(self, buffer: str) -> Tensor:
        return torch.zeros(ALIGN, dtype=getattr(torch, self.operand) if buffer == "convolutions" else torch.float32)
