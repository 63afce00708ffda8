"""The objects of the original (Janner et al. 2022): policies, and their parts without one."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ..modules import unwrapped
from ..subject import Subject
from .diffusion import DiffusionSubject
from .policy import PolicySubject

EXPECTED = (
    "an object with diffusion_model and normalizer, as the original's GuidedPolicy and Policy have, or its "
    "GaussianDiffusion"
)


def find(
    target: Any, *, guide: Any = None, normalizer: Any = None, sample_kwargs: Mapping[str, Any] | None = None
) -> Subject | None:
    """A policy as it is; a diffusion with its guide, normaliser and sampling arguments as a policy of these parts.

    Without a normaliser the diffusion keeps its own call.
    """
    if _is_diffusion(getattr(target, "diffusion_model", None)) and hasattr(target, "normalizer"):
        given = {"guide": guide, "normalizer": normalizer, "sample_kwargs": sample_kwargs}
        if extra := [name for name, value in given.items() if value is not None]:
            raise TypeError(f"{', '.join(extra)}: of a bare diffusion; the policy has its own")
        return PolicySubject(target)
    if not _is_diffusion(target):
        return None
    arguments = dict(sample_kwargs or {})
    if guide is not None:
        from .guide import ValueGuide, n_step_guided_p_sample

        guide = guide if hasattr(guide, "gradients") else ValueGuide(guide)
        arguments.setdefault("sample_fn", n_step_guided_p_sample)
    if normalizer is None:
        return DiffusionSubject(target, guide, arguments)
    return PolicySubject(
        SimpleNamespace(diffusion_model=target, normalizer=normalizer, guide=guide, sample_kwargs=arguments)
    )


def _is_diffusion(candidate: Any) -> bool:
    inner = unwrapped(candidate)
    return all(hasattr(inner, name) for name in ("state_dict", "betas", "p_sample_loop", "action_dim", "horizon"))
