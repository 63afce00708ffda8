"""``accelerate(policy)``: an object of another library, called as before, planning on our engines.

By duck typing: the objects are looked at, never imported. What they do is not guessed from names: plans of theirs
are compared with ours. What a library's objects mean is said in one module each (see subject.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import cleandiffuser, decision_diffuser, diffusion_policy, janner, lerobot, pipeline
from .accelerated import Accelerated

__all__ = ["DIALECTS", "Accelerated", "accelerate"]

# (a Decision Diffuser's object has all that the original's has)
DIALECTS = (decision_diffuser, janner, pipeline, diffusion_policy, lerobot, cleandiffuser)


def accelerate(
    policy: Any, *, backend: str = "auto", noise: str = "philox", check: bool | Mapping[int, Any] = True,
    guide: Any = None, normalizer: Any = None, sample_kwargs: Mapping[str, Any] | None = None, **planner_options: Any,
) -> Accelerated:  # fmt: skip
    """An original ``GuidedPolicy`` (main) or ``Policy`` (maze2d) -> the same call and return value, faster.

    Likewise diffusers' ``ValueGuidedRLPipeline``, called as it is; the ``DiffusionUnetLowdimPolicy`` of
    diffusion_policy (``predict_action``), lerobot's ``DiffusionPolicy`` (``select_action``), the diffusion SDEs of
    CleanDiffuser (``sample``) and the diffusions of Decision Diffuser (as they are, or ``conditional_sample``).

    noise: "philox" (ours: the same on every device), or "torch": drawn from torch's global generator in the
    original's order, so that a seeded run gives the same plans. planner_options: ``threads``, ``seed``, ``device``, ...

    check: three plans of the policy, with a goal where it takes one, are compared with ours on the same noise, which
    takes as long as the policy takes; torch's generators are left as they were. ``{time: observation}`` compares on
    these conditions; False leaves it out and takes what is behind the original's names for the original's. Compared
    again, at a later call, is what nothing vouches for: another step function, other modules, classes, methods, hooks
    or settings of layers, a guide more than ten times as strong, or one that had not shown itself.

    guide, normalizer, sample_kwargs: of a bare ``GaussianDiffusion``, given as ``policy``. With a normaliser it is
    called as a GuidedPolicy, without one as itself. guide: a ValueGuide or a bare value network; sample_kwargs: as a
    GuidedPolicy takes them, the guided step being the default where there is a guide.

    Raises TypeError for an object that is none of these, ValueError, with the numbers, for one that plans in a way of
    its own.
    """
    if isinstance(policy, Accelerated):
        policy = policy.policy
    if noise not in ("philox", "torch"):
        raise ValueError(f"noise: found {noise!r}, expected 'philox' or 'torch'")
    if not isinstance(check, (bool, Mapping)):
        raise TypeError(f"check: expected True, False or conditions {{time: observation}}, found {check!r}")
    parts = {"guide": guide, "normalizer": normalizer, "sample_kwargs": sample_kwargs}
    subject = next((found for dialect in DIALECTS if (found := dialect.find(policy, **parts))), None)
    if subject is None:
        known = "; or ".join(dialect.EXPECTED for dialect in DIALECTS)
        raise TypeError(f"policy: expected {known}; found {type(policy).__name__}")
    return Accelerated(subject, noise=noise, check=check, options={"backend": backend, **planner_options})
