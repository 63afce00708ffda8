"""Have the tensors of some modules changed since they were read? Asked at every call, so it must cost little."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

SAMPLE = 16  # bytes looked at in each tensor

_version = attrgetter("_version")


class Watch:
    """Notices a tensor that was written to, replaced, or given other memory, and a module that was replaced.

    torch counts what writes to a tensor (optimizers, ``load_state_dict``), but not what writes to its ``.data``: so a
    few bytes of each tensor are compared too, where the CPU can see them. What escapes is a change on a GPU through
    ``.data``, and of single numbers through it.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        import torch

        self.roots = tuple(modules)
        self.modules = found = [one for module in self.roots for one in module.modules()]
        self._holders = [held for one in found for held in (one._parameters, one._buffers) if held]
        self._children = [one._modules for one in found if one._modules]
        tensors = self._tensors()
        # Views keep the memory alive: what replaces a tensor cannot get its address.
        self._kept = [tensor.detach() for tensor in tensors]
        self._counted = [not tensor.is_inference() for tensor in tensors]  # tensors of inference mode count nothing
        self._pointer = torch.Tensor.data_ptr
        self._bytes = [_bytes(tensor) for tensor in self._kept if tensor.device.type == "cpu" and tensor.numel()]
        self._seen = self._look(tensors)
        self._seen_bytes = b"".join(self._bytes)

    def changed(self) -> bool:
        """Whether anything has."""
        return b"".join(self._bytes) != self._seen_bytes or self._look(self._tensors()) != self._seen

    def rebuilt(self, before: Watch) -> bool:
        """Whether the same modules as ``before`` are now made of other modules."""
        one = list(map(id, self.modules)) == list(map(id, before.modules))
        return list(map(id, self.roots)) == list(map(id, before.roots)) and not one

    def _tensors(self) -> list[Tensor]:
        held = chain.from_iterable(map(dict.values, self._holders))
        return [tensor for tensor in held if tensor is not None]

    def _look(self, tensors: list[Tensor]) -> tuple[list[Any], ...]:
        if len(tensors) != len(self._kept):
            return ()
        counted = tensors if all(self._counted) else [t for t, counts in zip(tensors, self._counted) if counts]
        children = list(map(id, chain.from_iterable(map(dict.values, self._children))))
        return list(map(_version, counted)), list(map(self._pointer, tensors)), children


def _bytes(tensor: Tensor) -> memoryview:
    """Some bytes in the middle of a tensor's memory, seen without a copy."""
    import torch

    size = tensor.untyped_storage().nbytes()
    raw = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
    start = (tensor.storage_offset() + tensor.numel() // 2) * tensor.element_size()
    start = max(0, min(start, size - SAMPLE))
    return memoryview(raw[start : start + SAMPLE].numpy())
