"""What the original's sampling arguments ask for: the guide, the horizon, the step function behind its wrappers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.guidance import Guide
from ...core.scalars import real, whole

STEPS = ("n_step_guided_p_sample", "default_sample_fn")
# Arguments of n_step_guided_p_sample -> fields of Guide, with that function's own defaults.
GUIDE_ARGUMENTS = {
    "scale": "scale",
    "n_guide_steps": "n_steps",
    "t_stopgrad": "t_stopgrad",
    "scale_grad_by_std": "scale_by_variance",
}
GUIDE_DEFAULTS = {"scale": 0.001, "n_guide_steps": 1, "t_stopgrad": 0, "scale_grad_by_std": True}


@dataclass(frozen=True)
class Sampling:
    """guide: None if steps are unguided. horizon: None leaves it to the diffusion. step: as it is defined, or None."""

    guide: Guide | None
    horizon: int | None
    step: Callable[..., Any] | None


def sampling(arguments: Mapping[str, Any]) -> Sampling:
    """A policy's ``sample_kwargs``, or a diffusion's keyword arguments -> what they ask for.

    Raises ValueError for a step function that is neither of the original's, and for arguments that they do not have.
    """
    options = {name: value for name, value in arguments.items() if name not in ("verbose", "return_chain")}
    horizon = options.pop("horizon", None)
    horizon = None if horizon is None else _asked(whole, "horizon", horizon)
    step, wrapped = unwrapped_step(options.pop("sample_fn", None))
    options = {**wrapped, **options}
    name = "default_sample_fn" if step is None else step_name(step)
    if name not in STEPS:
        raise ValueError(
            f"policy: its sample_fn is {name!r}, a step of your own that a compiled loop cannot call; "
            f"{' and '.join(STEPS)} are understood"
        )
    if name == "default_sample_fn":
        if options:
            raise ValueError(f"policy: default_sample_fn takes no {', '.join(sorted(options))}")
        return Sampling(None, horizon, step)
    unknown = sorted(set(options) - set(GUIDE_ARGUMENTS))
    if unknown:
        raise ValueError(f"policy: n_step_guided_p_sample's {', '.join(unknown)} in sample_kwargs is not understood")
    merged = {**GUIDE_DEFAULTS, **options}
    stop = _asked(real, "t_stopgrad", merged["t_stopgrad"])
    guide = Guide(
        scale=_asked(real, "scale", merged["scale"]),
        n_steps=_asked(whole, "n_guide_steps", merged["n_guide_steps"]),
        t_stopgrad=max(0, math.ceil(stop)),  # t is whole: t < 1.5 is t < 2, and nothing is below 0
        scale_by_variance=bool(merged["scale_grad_by_std"]),
    )
    return Sampling(guide, horizon, step)


def unwrapped_step(step: Callable[..., Any] | None) -> tuple[Callable[..., Any] | None, dict[str, Any]]:
    """A step function without what functools.partial and torch put around it, and the partial's keyword arguments."""
    keywords: dict[str, Any] = {}
    while True:
        if isinstance(step, functools.partial):
            if step.args:
                raise ValueError("policy: its sample_fn is a functools.partial with positional arguments; name them")
            step, keywords = step.func, {**step.keywords, **keywords}
        elif hasattr(step, "__wrapped__") and _module(step).startswith("torch."):
            step = step.__wrapped__
        else:
            return step, keywords


def step_name(step: Callable[..., Any]) -> str:
    """The name of a step function: its own, whatever a wrapper (functools.wraps) calls itself."""
    return getattr(step, "__name__", repr(step))


def wrapper_of(step: Callable[..., Any] | None) -> str | None:
    """Where a function that only calls itself a step of the original's is defined; None for one that is one."""
    if step is None or (not hasattr(step, "__wrapped__") and _defined_name(step) == step_name(step)):
        return None
    return f"{_module(step)}.{getattr(step, '__qualname__', type(step).__name__)}"


def _defined_name(step: Callable[..., Any]) -> str | None:
    return getattr(getattr(step, "__code__", None), "co_name", None)


def _module(step: Callable[..., Any]) -> str:
    return getattr(step, "__globals__", {}).get("__name__", "") or ""


def _asked(check: Callable[[str, Any], Any], name: str, value: Any) -> Any:
    """A sampling argument by one of the checks of core/scalars.py."""
    return check(f"policy: {name} in sample_kwargs", value)
