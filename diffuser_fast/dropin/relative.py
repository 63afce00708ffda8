"""What subjects of the original's relatives have in common: they are run by their own call, and draw plain noise."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .modules import unwrapped
from .subject import Plan

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Facts:
    """What a relative's plans depend on beside tensors. asked: of one call, compared by value, and nothing is proved by
    it; behind: the ways of its objects, which a comparison vouches for."""

    asked: tuple[Any, ...]
    config: str
    behind: tuple[Any, ...]
    strength: float = 0.0

    @property
    def proof(self) -> Any:
        """A comparison vouches for these ways under this configuration."""
        return self.config, self.behind


class Relative:
    """A subject but for its reading and its call. target: what was accelerated."""

    target: Any
    methods: tuple[str, ...] = ()

    def doubt(self) -> str | None:
        """None: what it does differently shows in the comparison."""
        return None

    def ours(self, plan: Plan, *args: Any, **kwargs: Any) -> Any:
        """What ``original`` returns, by our plans: its call, unless a dialect says otherwise."""
        return self.call(plan, *args, **kwargs)

    def described(self) -> str:
        """The classes that plans come from."""
        return ", ".join(dict.fromkeys(type(unwrapped(one)).__name__ for one in (self.target, *self.modules())))

    def modules(self) -> list[nn.Module]:
        """The networks; each dialect's own."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the networks are, and so the noise."""
        return next(self.modules()[0].parameters()).device

    def torch_tape(
        self, plans: int, horizon: int, steps: int, first: NDArray | None = None
    ) -> NDArray[np.float32]:  # fmt: skip
        """Drawn plainly, entry by entry; none at t = 0."""
        import torch

        shape, given = (plans, horizon, self.depth), [] if first is None else [first]
        drawn = [torch.randn(shape, device=self.device).cpu().numpy() for _ in range(self.draws(steps) - len(given))]
        return np.stack(given + drawn)

    @property
    def depth(self) -> int:
        """D, of what it draws."""
        raise NotImplementedError

    def draws(self, steps: int) -> int:
        """How often a call draws."""
        return steps

    def copied(self) -> Relative:
        """Itself on a copy of the object, whose queues and generators may be used up."""
        other = copy.copy(self)
        other.target = copy.deepcopy(self.target)
        return other


def settings_of(config: Any) -> dict[str, Any]:
    """A configuration object of these libraries as a dictionary."""
    return dict(config) if isinstance(config, Mapping) else dict(vars(config))


def kind_of(scheduler: Any) -> str:
    """DDPM or DDIM, of a scheduler of Hugging Face diffusers: its class without what all of them end with."""
    return type(scheduler).__name__.removesuffix("Scheduler")


def refuse_parts(what: str, parts: Mapping[str, Any]) -> None:
    """TypeError for parts that go with a bare diffusion only."""
    if extra := [name for name, value in parts.items() if value is not None]:
        raise TypeError(f"{', '.join(extra)}: of a bare diffusion; {what} has its own")
