"""The parts that the original's planners have in common: a diffusion, a guide, and sampling arguments."""

from __future__ import annotations

import copy
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.checkpoint import Checkpoint, Weights
from ...core.guidance import Guide
from ...core.normalizers import Normalizers
from ...core.schedule import Schedule
from ...formats import janner_keys
from ..modules import arrays, groups_of, unwrapped
from ..subject import PLANS, Plan, Reading
from ..ways import HOOKS, hooks, own_methods, ways
from .settings import Sampling, sampling, step_name, wrapper_of
from .torch_noise import torch_tape

if TYPE_CHECKING:
    import torch
    from torch import nn

# The original's classes of a guide, from the outside in, and the methods of theirs that guide plans. One plan cannot
# vouch for another's method: a cost may be zero far from its obstacle.
_GUIDES = ("ValueGuide", "ValueDiffusion", "ValueFunction", "TemporalValue")
_METHODS = ("gradients", "forward", "__call__")


@dataclass(frozen=True)
class Facts:
    """What plans of a diffusion depend on beside its tensors. behind: its networks, which are not kept alive, its step
    function, and the ways of its objects."""

    guide: Guide | None
    horizon: int
    action_dim: int
    n_timesteps: int
    predict_epsilon: bool
    clip_denoised: bool
    statistics: tuple[Any, ...]
    behind: tuple[Any, ...]

    @property
    def proof(self) -> Any:
        """Everything but how far a guide goes, and the statistics' numbers."""
        guide = None if self.guide is None else replace(self.guide, scale=1.0)
        return replace(self, guide=guide, statistics=tuple(kind for kind, *_ in self.statistics))

    @property
    def strength(self) -> float:
        """The guide's scale, as a size."""
        return 0.0 if self.guide is None else abs(self.guide.scale)


class Parts(ABC):
    """A subject of the original's family, but for its call. target: what was accelerated."""

    target: Any

    @property
    @abstractmethod
    def _wrapped_diffusion(self) -> Any: ...

    @property
    @abstractmethod
    def _any_guide(self) -> Any:
        """A guide, whether sampling uses it or not."""

    @property
    @abstractmethod
    def _arguments(self) -> Mapping[str, Any]:
        """Sampling arguments, without the guide."""

    @abstractmethod
    def _normalizers(self) -> Normalizers: ...

    @abstractmethod
    def _statistics(self) -> tuple[Any, ...]: ...

    @property
    def diffusion(self) -> Any:
        """The diffusion itself."""
        return unwrapped(self._wrapped_diffusion)

    @property
    def device(self) -> torch.device:
        """Where the diffusion's schedule is, and so its noise."""
        return self.diffusion.betas.device

    def sampling(self) -> tuple[Sampling, Any]:
        """What is asked for, and the guide if sampling is guided."""
        asked = sampling(self._arguments)
        if asked.guide is None:
            return asked, None
        if self._any_guide is None:
            raise ValueError("policy: n_step_guided_p_sample needs a guide, and the policy has none")
        return asked, self._any_guide

    def settings(self) -> Facts:
        """As they are now."""
        diffusion, (asked, guide) = self.diffusion, self.sampling()
        return Facts(
            guide=asked.guide,
            horizon=asked.horizon or int(diffusion.horizon),
            action_dim=int(diffusion.action_dim),
            n_timesteps=int(diffusion.n_timesteps),
            predict_epsilon=bool(diffusion.predict_epsilon),
            clip_denoised=bool(diffusion.clip_denoised),
            statistics=self._statistics(),
            behind=(*map(_weak, (diffusion, value_network(guide))), asked.step, *map(ways, self._objects(guide))),
        )

    def _objects(self, guide: Any) -> Iterator[Any]:
        """Those whose methods are called for a plan, beside modules inside of modules."""
        return chain((self.target, self.diffusion), guide_parts(guide))

    def modules(self) -> list[nn.Module]:
        """The diffusion, and the value network if it guides."""
        network = value_network(self.sampling()[1])
        return [self.diffusion, *([] if network is None else [network])]

    def readings(self, settings: Facts) -> list[Reading]:
        """By the main branch's convention; and, if gradients are scaled, by the locomotion branch's."""
        state, rest = janner_keys.split(arrays(self.diffusion))
        schedule = Schedule.from_buffers(rest)
        if settings.n_timesteps != schedule.n_steps:
            steps = schedule.n_steps
            raise ValueError(f"policy: its n_timesteps is {settings.n_timesteps}, its buffers are for {steps} steps")
        checkpoint = Checkpoint(
            unet=janner_keys.unet_weights(state, settings.horizon, groups=_groups(self.diffusion)),
            schedule=schedule,
            action_dim=settings.action_dim,
            prediction="epsilon" if settings.predict_epsilon else "x0",
            clip_denoised=settings.clip_denoised,
            value=None if settings.guide is None else _value(self._any_guide, settings.horizon),
            normalizers=self._normalizers(),
            metadata={"source": type(self.target).__name__},
        )
        if settings.guide is None:
            return [Reading(checkpoint, None, settings.horizon, plans=self._plans)]
        guides = [settings.guide]
        if settings.guide.scale_by_variance:
            guides.append(replace(settings.guide, variance_power=0.5))
        return [
            Reading(replace(checkpoint, guide=guide), guide, settings.horizon, plans=self._plans) for guide in guides
        ]

    @property
    def _plans(self) -> int:
        """How many a call can be asked for, to compare them."""
        return PLANS

    def doubt(self) -> str | None:
        """A wrapped step, or a guide's own methods: what may do nothing on one plan and something on the next."""
        asked, guide = self.sampling()
        wrapper = wrapper_of(asked.step)
        if wrapper is not None:
            return f"its sample_fn is wrapped by {wrapper}, which a compiled loop would not call"
        for depth, part in enumerate(guide_parts(guide)):
            own = [name for name, _ in own_methods(part) if name in _METHODS]
            if own or hooks(part):
                what = f"{own[0]}() of its own, set on the object" if own else f"hooks ({', '.join(_hooked(part))})"
                return f"its guide has {what}, which a compiled loop would not call"
            for name in _METHODS:
                owner = next((cls for cls in type(part).__mro__ if name in vars(cls)), None)
                if owner is None or owner.__name__ in (*_GUIDES, "Module"):
                    continue
                # A network by another name is compared like everything else.
                if depth == 0 or any(cls.__name__ in _GUIDES for cls in owner.__mro__):
                    where = f"{name}() of its own ({owner.__qualname__})"
                    return f"its guide has {where}, which a compiled loop would not call"
        return None

    def described(self) -> str:
        """The classes and the function that plans come from."""
        asked, guide = self.sampling()
        objects = (self.target, self.diffusion, unwrapped(self.diffusion.model), *guide_parts(guide))
        named = [type(one).__name__ for one in objects]
        if asked.step is not None:
            code = getattr(asked.step, "__code__", None)
            named.append(step_name(asked.step) + (f" in {code.co_filename}" if code else ""))
        return ", ".join(dict.fromkeys(named))

    def in_float32(self) -> Parts:
        """Itself; or where its networks are of another precision, a copy whose networks are as they are read."""
        import torch

        tensors = [tensor for module in self.modules() for tensor in (*module.parameters(), *module.buffers())]
        if all(tensor.dtype == torch.float32 or not tensor.is_floating_point() for tensor in tensors):
            return self
        other = copy.deepcopy(self)
        for module in other.modules():
            module.float()
        return other

    def ours(self, plan: Plan, *args: Any, **kwargs: Any) -> Any:
        """Its call, by our plans."""
        return self.call(plan, *args, **kwargs)

    def torch_tape(self, plans: int, horizon: int, steps: int, first: NDArray | None = None) -> NDArray[np.float32]:
        """As the original draws it. first: its calls take none."""
        return torch_tape(self.diffusion, plans, horizon, steps)


def guide_parts(guide: Any) -> Iterator[Any]:
    """A ValueGuide, the ValueDiffusion in it if there is one, and the value network; unwrapped."""
    part = unwrapped(guide)
    while part is not None:
        yield part
        inner = unwrapped(getattr(part, "model", None))
        part = inner if hasattr(inner, "state_dict") else None


def _hooked(part: Any) -> list[str]:
    return [name.removeprefix("_") for name in HOOKS if getattr(part, name, None)]


def _weak(one: Any) -> Any:
    return None if one is None else weakref.ref(one)


def value_network(guide: Any) -> nn.Module | None:
    """The innermost part of a guide; None if it holds no network."""
    parts = list(guide_parts(guide))
    return parts[-1] if len(parts) > 1 else None


def _value(guide: Any, horizon: int) -> Weights:
    """A guide's value network, at the horizon of the plans it judges."""
    network = value_network(guide)
    if network is None:
        raise ValueError(
            f"policy: its guide is a {type(guide).__name__} without a value network (ValueGuide has one in .model)"
        )
    try:
        return janner_keys.value_weights(arrays(network), horizon, None, groups=_groups(network))
    except ValueError as error:
        raise ValueError(f"policy: its value network: {error}") from None


def _groups(module: nn.Module) -> int:
    return groups_of(module) or janner_keys.GROUPS
