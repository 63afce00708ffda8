"""``accelerate(policy)``: a policy object of the original code, planning on our engines.

By duck typing: the objects are looked at, never imported. Taken over once, when ``accelerate`` is called: weights,
schedule buffers, normaliser, preprocessing and sampling arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .core.checkpoint import Checkpoint, Weights
from .core.guidance import Guide
from .core.normalizers import Gaussian, Limits, Normalizer, Normalizers
from .core.schedule import Schedule
from .formats import janner_keys
from .planner import Planner

SAMPLE_FNS = ("n_step_guided_p_sample", "default_sample_fn")
# Arguments of n_step_guided_p_sample -> fields of Guide, with that function's own defaults.
GUIDE_ARGUMENTS = {
    "scale": "scale",
    "n_guide_steps": "n_steps",
    "t_stopgrad": "t_stopgrad",
    "scale_grad_by_std": "scale_by_variance",
}
GUIDE_DEFAULTS = {"scale": 0.001, "n_guide_steps": 1, "t_stopgrad": 0, "scale_grad_by_std": True}


class Trajectories(NamedTuple):
    """What a guided policy returns beside the action: physical units, best plan first."""

    actions: NDArray  # [B, H, A]
    observations: NDArray  # [B, H, O]
    values: Any  # torch tensor [B]


class UnvaluedTrajectories(NamedTuple):
    """What the maze2d branch's policy returns beside the action."""

    actions: NDArray  # [B, H, A]
    observations: NDArray  # [B, H, O]


def accelerate(policy: Any, *, backend: str = "auto", noise: str = "philox", **planner_options: Any) -> Accelerated:
    """An original ``GuidedPolicy`` (main) or ``Policy`` (maze2d) -> the same call and return value, faster.

    noise: "philox" (ours: the same on every device), or "torch": drawn from torch's global generator in the
    original's order, so that a seeded run gives the same plans. planner_options: ``threads``, ``seed``, ``device``, ...
    Raises TypeError for an object that is neither, ValueError for a policy that samples in a way we do not know.
    """
    diffusion = getattr(policy, "diffusion_model", None)
    if diffusion is None or not hasattr(policy, "normalizer") or not hasattr(diffusion, "state_dict"):
        raise TypeError(
            "policy: expected an object with diffusion_model and normalizer, as the original's GuidedPolicy and Policy "
            f"have, found {type(policy).__name__}"
        )
    if noise not in ("philox", "torch"):
        raise ValueError(f"noise: found {noise!r}, expected 'philox' or 'torch'")
    guided_kind = hasattr(policy, "sample_kwargs") or hasattr(policy, "guide")
    guide, horizon = _guide(policy) if guided_kind else (None, None)
    state, rest = janner_keys.split(_arrays(diffusion))
    checkpoint = Checkpoint(
        unet=janner_keys.unet_weights(state, int(diffusion.horizon)),
        schedule=Schedule.from_buffers(rest),
        action_dim=int(diffusion.action_dim),
        prediction="epsilon" if diffusion.predict_epsilon else "x0",
        clip_denoised=bool(diffusion.clip_denoised),
        value=_value(policy.guide, int(diffusion.horizon)) if guide is not None else None,
        normalizers=_normalizers(policy.normalizer),
        metadata={"source": type(policy).__name__},
    )
    planner = Planner(
        checkpoint, backend, batch_size=1, horizon=horizon, guide=guide, clip_scope="array", **planner_options
    )
    return Accelerated(policy, planner, guided_kind, noise)


class Accelerated:
    """Called as the policy it stands for; every other attribute is that policy's own. ``planner`` is ours."""

    def __init__(self, policy: Any, planner: Planner, guided_kind: bool, noise: str) -> None:
        self.policy, self.planner = policy, planner
        self._call = self._guided if guided_kind else self._unguided
        self._noise = noise

    def __call__(self, conditions: Mapping[int, Any], *args: Any, **kwargs: Any) -> tuple[NDArray, NamedTuple]:
        """``(conditions, batch_size=1, verbose=True)``, or of the maze2d branch ``(conditions, debug=False,
        batch_size=1)``: the first action ``[A]`` of the best plan, and the plans."""
        return self._call(conditions, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["policy"], name)

    def _guided(
        self, conditions: Mapping[int, Any], batch_size: int = 1, verbose: bool = True
    ) -> tuple[NDArray, Trajectories]:
        import torch

        preprocess = getattr(self.policy, "preprocess_fn", None)
        if preprocess is not None:
            conditions = {t: preprocess(obs) for t, obs in conditions.items()}
        plans = self._plan(conditions, batch_size)
        values = torch.from_numpy(plans.values).to(self.policy.diffusion_model.betas.device)
        return plans.actions[0, 0], Trajectories(plans.actions, plans.observations, values)

    def _unguided(
        self, conditions: Mapping[int, Any], debug: bool = False, batch_size: int = 1
    ) -> tuple[NDArray, UnvaluedTrajectories]:
        plans = self._plan(conditions, batch_size)
        return plans.actions[0, 0], UnvaluedTrajectories(plans.actions, plans.observations)

    def _plan(self, conditions: Mapping[int, Any], batch_size: int):
        tape = self._torch_tape(batch_size) if self._noise == "torch" else None
        return self.planner.plan(conditions, noise=tape, batch_size=batch_size)

    def _torch_tape(self, batch_size: int) -> NDArray[np.float32]:
        """The numbers that the original would draw from torch's global generator.

        It asks for noise "like x", and what torch then draws depends on how x lies in memory: as ``[B, H, D]`` in the
        first row. From then on x lies as x0 does: as the network's output, whose memory is ``[B, D, H]``; or where the
        network predicts noise, and x0 is x less a multiple of that, as x.
        """
        import torch

        diffusion = self.policy.diffusion_model
        shape = (batch_size, self.planner.horizon, self.planner.checkpoint.unet.spec.transition_dim)
        plain = torch.empty(shape, device=diffusion.betas.device)
        like_output = torch.empty((shape[0], shape[2], shape[1]), device=plain.device).transpose(1, 2)
        later = plain if diffusion.predict_epsilon else like_output
        rows = self.planner.checkpoint.schedule.n_steps
        entries = [torch.randn(shape, device=plain.device), torch.randn_like(plain)]
        entries += [torch.randn_like(later) for _ in range(rows - 1)]
        return np.stack([entry.cpu().numpy() for entry in entries])


def _guide(policy: Any) -> tuple[Guide | None, int | None]:
    """What a policy's sample_kwargs ask for: the guide, and a horizon if they name one."""
    options = dict(getattr(policy, "sample_kwargs", {}))
    options.pop("verbose", None)
    options.pop("return_chain", None)
    horizon = options.pop("horizon", None)
    sample_fn = options.pop("sample_fn", None)
    name = "default_sample_fn" if sample_fn is None else getattr(sample_fn, "__name__", repr(sample_fn))
    if name not in SAMPLE_FNS:
        raise ValueError(
            f"policy: its sample_fn is {name!r}, a step of your own that a compiled loop cannot call; "
            f"{' and '.join(SAMPLE_FNS)} are understood"
        )
    if name == "default_sample_fn":
        if options:
            raise ValueError(f"policy: default_sample_fn takes no {', '.join(sorted(options))}")
        return None, horizon
    unknown = sorted(set(options) - set(GUIDE_ARGUMENTS))
    if unknown:
        raise ValueError(f"policy: n_step_guided_p_sample's {', '.join(unknown)} in sample_kwargs is not understood")
    if getattr(policy, "guide", None) is None:
        raise ValueError("policy: n_step_guided_p_sample needs a guide, and the policy has none")
    merged = {**GUIDE_DEFAULTS, **options}
    return Guide(**{field: merged[argument] for argument, field in GUIDE_ARGUMENTS.items()}), horizon


def _value(guide: Any, horizon: int) -> Weights:
    model = getattr(guide, "model", None)
    if model is None or not hasattr(model, "state_dict"):
        raise ValueError(
            f"policy: its guide is a {type(guide).__name__} without a value network (ValueGuide has one in .model)"
        )
    state, _ = janner_keys.split(_arrays(model))
    return janner_keys.value_weights(state, getattr(model, "horizon", None), horizon)


def _arrays(module: Any) -> dict[str, NDArray]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def _normalizers(normalizer: Any) -> Normalizers:
    fields = getattr(normalizer, "normalizers", None)
    if not isinstance(fields, Mapping) or not {"observations", "actions"} <= set(fields):
        raise ValueError(
            "policy: its normalizer must hold .normalizers for 'observations' and 'actions', as DatasetNormalizer does"
        )
    return Normalizers(*(_normalizer(fields[name]) for name in ("observations", "actions")))


def _normalizer(one: Any) -> Normalizer:
    kinds = {cls.__name__ for cls in type(one).__mro__}
    if "GaussianNormalizer" in kinds:
        return Gaussian(one.means, one.stds)
    if "LimitsNormalizer" in kinds:  # SafeLimitsNormalizer too: its limits are moved when it is made
        return Limits(one.mins, one.maxs)
    raise ValueError(
        f"policy: its normaliser is a {type(one).__name__}; GaussianNormalizer and LimitsNormalizer are understood"
    )
