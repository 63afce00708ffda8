"""Keys of state dicts, whatever wrapped the module when they were written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")
WRAPPERS = ("_orig_mod", "module")  # of torch.compile; of DataParallel and DistributedDataParallel


def plain_keys(state_dict: Mapping[str, Value]) -> dict[str, Value]:
    """``state_dict`` without the wrappers' parts of its keys, wherever in a key they stand, one or several.

    Raises ValueError if two keys become one.
    """
    plain = {".".join(part for part in key.split(".") if part not in WRAPPERS): key for key in state_dict}
    if len(plain) != len(state_dict):
        raise ValueError("state dict: it holds the same tensors twice, wrapped and not wrapped")
    return {name: state_dict[key] for name, key in plain.items()}
