"""Have some modules changed since they were read? Asked at every call, so it must cost little."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .ways import Form

if TYPE_CHECKING:
    from torch import Tensor, nn

WHOLE = 1024  # bytes of a tensor that is looked at as a whole: biases, norms, schedules
SAMPLE, PLACES = 16, 5  # bytes of a larger one, and in how many places

_version = attrgetter("_version")


class Watch:
    """Notices a tensor that was written to, replaced, or given other memory, and a module that was replaced or set to
    compute otherwise (``Form``).

    torch counts what writes to a tensor (optimizers, ``load_state_dict``), but not what writes to its ``.data``: so
    bytes of each tensor are compared too, where the CPU can see them. What escapes is a change on a GPU through
    ``.data``, and of a few numbers of a large tensor through it.
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
        self._form = Form(found)
        self._counted = [not tensor.is_inference() for tensor in tensors]  # tensors of inference mode count nothing
        self._pointer = torch.Tensor.data_ptr
        on_cpu = [tensor for tensor in self._kept if tensor.device.type == "cpu" and tensor.numel()]
        self._bytes = [part for tensor in on_cpu for part in _bytes(tensor)]
        self._seen = self._look(tensors)
        self._seen_bytes = b"".join(self._bytes)

    def changed(self) -> bool:
        """Whether anything has."""
        if b"".join(self._bytes) != self._seen_bytes or self._look(self._tensors()) != self._seen:
            return True
        return self._form.changed()

    def rebuilt(self, before: Watch) -> bool:
        """Whether the same modules as ``before`` are now made of other modules, or any compute otherwise."""
        one = list(map(id, self.modules)) == list(map(id, before.modules))
        same_roots = list(map(id, self.roots)) == list(map(id, before.roots))
        return (same_roots and not one) or self._form != before._form

    def _tensors(self) -> list[Tensor]:
        held = chain.from_iterable(map(dict.values, self._holders))
        return [tensor for tensor in held if tensor is not None]

    def _look(self, tensors: list[Tensor]) -> tuple[list[Any], ...]:
        if len(tensors) != len(self._kept):
            return ()
        counted = tensors if all(self._counted) else [t for t, counts in zip(tensors, self._counted) if counts]
        children = list(map(id, chain.from_iterable(map(dict.values, self._children))))
        return list(map(_version, counted)), list(map(self._pointer, tensors)), children


def _bytes(tensor: Tensor) -> list[memoryview]:
    """A small tensor's memory, or some bytes of it, from its first number to its last; seen without a copy."""
    import torch

    raw = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
    extent = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride())) + 1
    first = tensor.storage_offset() * tensor.element_size()
    last = first + extent * tensor.element_size()
    if last - first <= WHOLE:
        return [memoryview(raw[first:last].numpy())]
    steps = ((last - first - SAMPLE) * place // (PLACES - 1) for place in range(PLACES))
    return [memoryview(raw[first + step : first + step + SAMPLE].numpy()) for step in steps]
