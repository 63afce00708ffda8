"""torch modules of other libraries: what is inside their wrappers, and their tensors as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats.state_dict import WRAPPERS, plain_keys

if TYPE_CHECKING:
    from torch import Tensor, nn


def unwrapped(module: Any) -> Any:
    """The module inside torch.compile, DataParallel and DistributedDataParallel; anything else as it is."""
    while len(inner := getattr(module, "_modules", {})) == 1 and (name := next(iter(inner))) in WRAPPERS:
        module = inner[name]
    return module


def arrays(module: nn.Module) -> dict[str, NDArray]:
    """Its state dict as numpy arrays, float32 (float64 stays); keys without the wrappers' parts."""
    return {name: _array(tensor) for name, tensor in plain_keys(module.state_dict()).items()}


def array_of(name: str, numbers: Any, ndim: int | None = None) -> NDArray[np.float64]:
    """A tensor, or what numpy takes for an array, as float64; ValueError by its name if it has not so many axes."""
    array = numbers.detach().cpu().double().numpy() if hasattr(numbers, "detach") else np.asarray(numbers, np.float64)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} axes, found shape {list(array.shape)}")
    return array


def groups_of(module: nn.Module) -> int | None:
    """The number of groups that all its GroupNorms have; None if they differ or there are none."""
    found = {one.num_groups for one in module.modules() if type(one).__name__ == "GroupNorm"}
    return found.pop() if len(found) == 1 else None


def _array(tensor: Tensor) -> NDArray:
    tensor = tensor.detach().cpu()
    return (tensor if str(tensor.dtype) == "torch.float64" else tensor.float()).numpy()
