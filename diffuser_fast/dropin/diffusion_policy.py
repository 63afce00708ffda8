"""diffusion_policy: a DiffusionUnetLowdimPolicy, ``policy.predict_action({"obs": obs})``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint
from ..formats import diffusion_policy
from ..formats.plain_json import Settings
from .modules import arrays
from .relative import Facts, Relative, kind_of, refuse_parts, settings_of
from .subject import PLANS, Plan, Reading, Subject
from .ways import ways

if TYPE_CHECKING:
    from torch import nn

EXPECTED = "a DiffusionUnetLowdimPolicy of diffusion_policy"
_SAID = (
    "horizon", "action_dim", "obs_dim", "n_action_steps", "n_obs_steps", "num_inference_steps", "obs_as_local_cond",
    "obs_as_global_cond", "pred_action_steps_only", "oa_step_convention",
)  # fmt: skip


def find(target: Any, **parts: Any) -> Subject | None:
    """A policy by its parts."""
    if not all(hasattr(target, name) for name in (*_SAID, "predict_action", "model", "noise_scheduler", "normalizer")):
        return None
    refuse_parts("the policy", parts)
    return LowdimSubject(target)


class LowdimSubject(Relative):
    """Observations of B situations, ``[B, n_obs_steps, O]`` tensors, one plan for each."""

    methods = ("predict_action",)

    def __init__(self, policy: Any) -> None:
        self.target = policy

    def modules(self) -> list[nn.Module]:
        """The policy is a module itself: its network and its statistics."""
        return [self.target]

    @property
    def depth(self) -> int:
        """D, of what is drawn: actions, and observations where they are inpainted."""
        policy = self.target
        return int(policy.action_dim) + (int(policy.obs_dim) if self._inpaints else 0)

    @property
    def _inpaints(self) -> bool:
        return not (self.target.obs_as_global_cond or self.target.obs_as_local_cond)

    def draws(self, steps: int) -> int:
        """None at t = 0; DDIM draws the first alone."""
        return 1 if kind_of(self.target.noise_scheduler) == "DDIM" else steps

    def settings(self) -> Facts:
        """As they are now."""
        said = [(name, getattr(self.target, name)) for name in _SAID]
        config = sorted((str(k), repr(v)) for k, v in settings_of(self.target.noise_scheduler.config).items())
        behind = map(ways, (self.target, self.target.model, self.target.noise_scheduler, self.target.normalizer))
        return Facts((), repr((said, config)), tuple(behind))

    def readings(self, settings: Facts) -> list[Reading]:
        """One: every number of it is said, but the groups of its norms and FiLM, which its modules show."""
        policy, state = self.target, arrays(self.target)
        process = Settings(settings_of(policy.noise_scheduler.config))
        norms = [one.num_groups for one in policy.model.down_modules.modules() if type(one).__name__ == "GroupNorm"]
        projected = state["model.down_modules.0.0.cond_encoder.1.bias"]
        first = state["model.down_modules.0.0.blocks.0.block.0.bias"]
        checkpoint = diffusion_policy.checkpoint_of(
            {key: array for key, array in state.items() if "dummy" not in key},
            Settings({name: getattr(policy, name) for name in _SAID}), process, kind_of(policy.noise_scheduler),
            groups=int(norms[0]), film=len(projected) != len(first), metadata={"source": type(policy).__name__},
        )  # fmt: skip
        rows = checkpoint.sampling.table(checkpoint.schedule, checkpoint.prediction).rows
        return [Reading(checkpoint, None, checkpoint.unet.spec.horizon, draws=self.draws(rows))]

    def call(self, plan: Plan, obs_dict: Mapping[str, Any]) -> dict[str, Any]:
        """``predict_action``: tensors "action" ``[B, Ta, A]`` and "action_pred" ``[B, H, A]``."""
        import torch

        if "obs" not in obs_dict:
            raise ValueError(f"obs_dict: found {', '.join(map(str, obs_dict)) or 'nothing'}, expected 'obs'")
        obs = obs_dict["obs"]
        seen = np.asarray(obs.detach().cpu().numpy())[:, : int(self.target.n_obs_steps)]
        if self._inpaints:
            plans = plan({t: seen[:, t] for t in range(seen.shape[1])}, 1)
        else:
            plans = plan({}, 1, condition=seen)

        def tensor(array: NDArray) -> Any:
            return torch.from_numpy(np.ascontiguousarray(array)).to(obs)

        actions = plans.actions[:, 0]
        first = int(self.target.n_obs_steps) - bool(self.target.oa_step_convention)
        first = 0 if self.target.pred_action_steps_only else first
        found = {"action": tensor(actions[:, first : first + int(self.target.n_action_steps)])}
        found["action_pred"] = tensor(actions)
        if self._inpaints:
            observed = plans.observations[:, 0]
            found["action_obs_pred"] = tensor(observed[:, first : first + int(self.target.n_action_steps)])
            found["obs_pred"] = tensor(observed)
        return found

    def original(self, obs_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The policy's own."""
        import torch

        with torch.no_grad():
            return self.target.predict_action(obs_dict)

    def example(self, checkpoint: Checkpoint, conditions: Mapping[int, Any] | None) -> tuple[tuple, dict[str, Any]]:
        """Observations inside the data, of situations of their own; conditions are the same for all."""
        import torch

        shape = (PLANS, checkpoint.acting.history, checkpoint.observation_dim)
        if conditions is None:
            inside = np.random.default_rng(0).uniform(-0.8, 0.8, shape)
            obs = checkpoint.normalizers.observations.unnormalize(inside)
        else:
            obs = np.broadcast_to(np.stack([conditions[t] for t in sorted(conditions)]), shape)
        return ({"obs": torch.as_tensor(obs, dtype=torch.float32, device=self.device)},), {}

    def compared(self, result: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, NDArray]:
        """Normalised."""
        normalize = checkpoint.normalizers.actions.normalize
        return {name: normalize(result[name].detach().cpu().numpy()) for name in ("action", "action_pred")}
