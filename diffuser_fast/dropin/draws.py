"""Another library's code run once, for comparison: its random numbers recorded, torch's generators left alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

SEED = 8  # of the numbers drawn; any


@contextlib.contextmanager
def recorded(device: torch.device) -> Iterator[list[Tensor]]:
    """Inside, torch draws from a fixed seed, and every tensor of random numbers is added to the list.

    Compiled functions run as written. Afterwards the generators of the CPU and of ``device`` are where they were.
    """
    record = _Record()
    with generators_kept(device), _as_written(), _Here(device), record:
        yield record.drawn


@contextlib.contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """torch's generators begin at ``SEED`` inside, and go on afterwards from where they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(SEED)
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            torch.cuda.default_generators[index].manual_seed(SEED)
        yield


class _Record(TorchDispatchMode):
    """Keeps what random ops return, as it is before anything is written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Tensor] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its compiler here, which takes longer than a plan. What is compiled runs as written anyway.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags and isinstance(result, Tensor):
            self.drawn.append(result.detach().clone())
        return result


class _Here(TorchFunctionMode):
    """Reads "cuda:0", which the original's policies write out, as the device that the weights are on."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.cuda:
            return args[0].to(self.device)
        args = tuple(map(self._here, args))
        return func(*args, **{name: self._here(value) for name, value in (kwargs or {}).items()})

    def _here(self, value: Any) -> Any:
        is_device = isinstance(value, (str, torch.device)) and str(value).partition(":")[0] == "cuda"
        return self.device if is_device else value


def _as_written() -> contextlib.AbstractContextManager:
    """What torch.compile made runs as it was written: it may draw other numbers, and cannot be recorded."""
    compiled = "torch._dynamo" in sys.modules  # which is slow to import for nothing
    return torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
