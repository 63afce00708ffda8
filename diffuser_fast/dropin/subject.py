"""What a dialect says of an object that is accelerated. A dialect is a module; there is no base class.

    EXPECTED                          the objects it knows, for the error that refuses others
    find(target, **parts) -> Subject  or None if it does not know ``target``

A new library is one such module (or package, as janner/) in the list of ``dropin/__init__``, and nothing else: what is
said here is all that the rest asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint
from ..core.guidance import Guide

if TYPE_CHECKING:
    import torch

    from ..planner import Plans

PLANS = 3  # that are compared at once: candidates are put in order, and situations kept apart

# (conditions in physical units, candidates for each, return_chain=False, condition=None, first=None) -> Plans, on the
# noise that was asked for. condition: as of ``Planner.plan``. first: the first noise ``[N, H, D]``, instead of drawn.
Plan = Callable[..., "Plans"]


@dataclass(frozen=True, eq=False)
class Reading:
    """One way to read a subject: all that a Planner is made from.

    draws: how many times a call of its own draws noise; None: once for every row, and once before. plans: for how many
    its ``example`` asks. beside: the shape of random numbers that it draws too, and that move no plan.
    """

    checkpoint: Checkpoint
    guide: Guide | None
    horizon: int
    draws: int | None = None
    plans: int = PLANS
    beside: tuple[int, ...] | None = None


class Settings(Protocol):
    """What plans depend on beside tensors; read at every call, and compared with ``==``."""

    @property
    def proof(self) -> Any:
        """What a comparison with the original vouches for: where it differs, another is needed. Hashable."""

    @property
    def strength(self) -> float:
        """How strongly a plan is guided, zero or more: weak guidance shows too little of itself to be compared."""


class Subject(Protocol):
    """An object of another library, looked at and never imported."""

    target: Any  # the object itself
    methods: Collection[str]  # of the target, by which it plans: by a method of ours of this name, or as it is called

    def settings(self) -> Settings:
        """As they are now. Raises ValueError if they ask for what a compiled loop cannot do."""

    def modules(self) -> list[torch.nn.Module]:
        """Those whose tensors plans depend on."""

    def readings(self, settings: Settings) -> list[Reading]:
        """How it may be read, as it is now, the likeliest first. Raises ValueError if it cannot be."""

    def doubt(self) -> str | None:
        """What can be seen without running it that a compiled loop would not do, in one sentence."""

    def described(self) -> str:
        """Where its behaviour comes from, for the error of a comparison that failed."""

    def call(self, plan: Plan, *args: Any, **kwargs: Any) -> Any:
        """The call that the target has, by our plans."""

    def original(self, *args: Any, **kwargs: Any) -> Any:
        """What is compared: a call of the target's own."""

    def ours(self, plan: Plan, *args: Any, **kwargs: Any) -> Any:
        """The same by our plans."""

    def example(self, checkpoint: Checkpoint, conditions: Mapping[int, Any] | None) -> tuple[tuple, dict[str, Any]]:
        """Arguments of a call for ``Reading.plans`` plans, given these ``conditions`` or (None) some that suit."""

    def compared(self, result: Any, checkpoint: Checkpoint) -> dict[str, NDArray]:
        """What a call returned, in units in which a difference of 1 is large."""

    def torch_tape(self, plans: int, horizon: int, steps: int, first: NDArray | None = None) -> NDArray:
        """The numbers that the target would draw from torch's generator: ``[steps + 1, plans, H, D]``, normalised.

        first: its first noise, if that is given. What a call draws last and does not use may be left out.
        """

    @property
    def device(self) -> torch.device:
        """Where its numbers are drawn."""


def situations(conditions: Mapping[int, Any], condition: Any = None) -> int | None:
    """E if conditions are given for E situations at once, each ``[E, O]`` or ``{dim: [E]}``, and ``condition`` ``[E,
    history, O]``; None for one situation."""
    if np.ndim(condition) == 3:
        return len(condition)
    whole = (given for given in conditions.values() if np.ndim(given) == 2)
    parts = (part for given in conditions.values() if isinstance(given, Mapping) for part in given.values())
    return next((len(given) for given in (*whole, *parts) if np.ndim(given)), None)
