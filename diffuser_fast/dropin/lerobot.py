"""Hugging Face lerobot: a DiffusionPolicy, ``policy.select_action(batch)``.

What samples is ours; everything around it stays the policy's own and in torch: its queues, the encoders of images,
and, where a version has it inside, normalisation. So the condition comes from the policy, and actions go back to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint
from ..core.normalizers import Affine, Normalizers
from ..formats import lerobot
from ..formats.ddpm_scheduler import scheduler
from ..formats.plain_json import Settings
from .modules import arrays, unwrapped
from .relative import Facts, Relative, kind_of, refuse_parts, settings_of
from .subject import PLANS, Plan, Reading, Subject
from .ways import Same, hooks, ways

if TYPE_CHECKING:
    from torch import Tensor, nn

EXPECTED = "a DiffusionPolicy of lerobot"
_PARTS = ("unet", "noise_scheduler", "conditional_sample", "num_inference_steps", "generate_actions")


def find(target: Any, **parts: Any) -> Subject | None:
    """A policy by its parts."""
    diffusion = getattr(target, "diffusion", None)
    if not hasattr(target, "select_action") or not all(hasattr(diffusion, name) for name in _PARTS):
        return None
    refuse_parts("the policy", parts)
    return PolicySubject(target)


class PolicySubject(Relative):
    """Its own call is a loss, and stays so; it plans by ``select_action`` and ``predict_action_chunk``."""

    methods = ("select_action", "predict_action_chunk")

    def __init__(self, policy: Any) -> None:
        self.target = policy
        self._hidden: list[Any] = []  # behind what ``_sampling`` puts there

    def modules(self) -> list[nn.Module]:
        """The U-Net: what else the policy has it runs itself."""
        return [self.target.diffusion.unet]

    @property
    def depth(self) -> int:
        """D: actions alone."""
        return int(self.target.config.action_feature.shape[0])

    @property
    def _scheduler(self) -> Any:
        return self.target.diffusion.noise_scheduler

    def draws(self, steps: int) -> int:
        """None at t = 0; DDIM draws the first alone."""
        return 1 if kind_of(self._scheduler) == "DDIM" else steps

    def settings(self) -> Facts:
        """As they are now."""
        diffusion = self.target.diffusion
        said = [settings_of(self.target.config), settings_of(self._scheduler.config)]
        config = sorted((str(key), repr(value)) for one in said for key, value in one.items())
        behind = map(ways, (self.target, unwrapped(diffusion.unet), self._scheduler))
        own = (type(diffusion), *map(Same, (*hooks(diffusion), self._own_sample)))
        return Facts((), repr((config, int(diffusion.num_inference_steps))), (*behind, own))

    @property
    def _own_sample(self) -> Any:
        """What the diffusion samples by in the place of its class's method, or None; not what we have put there."""
        return self._hidden[-1] if self._hidden else vars(self.target.diffusion).get("conditional_sample")

    def readings(self, settings: Facts) -> list[Reading]:
        """One: its configuration says every number of it. Conditions and actions are normalised already."""
        diffusion = self.target.diffusion
        process, facts = (
            Settings(settings_of(self._scheduler.config)),
            lerobot.facts_of(Settings(settings_of(self.target.config))),
        )
        found = scheduler(process, kind_of(self._scheduler), int(diffusion.num_inference_steps))
        unet = facts.weights(arrays(diffusion.unet))
        observed = unet.spec.condition // facts.acting.history
        checkpoint = Checkpoint(
            unet=unet,
            action_dim=self.depth,
            acting=facts.acting,
            normalizers=Normalizers(Affine.identity(observed), Affine.identity(self.depth)),
            metadata={"source": type(self.target).__name__},
            **found.fields,
        )
        rows = found.sampling.table(found.schedule, found.prediction).rows
        return [Reading(checkpoint, None, facts.horizon, draws=self.draws(rows))]

    def call(self, plan: Plan, *args: Any, **kwargs: Any) -> Any:
        """The policy's own, which plans nothing."""
        return self.target(*args, **kwargs)

    def select_action(self, plan: Plan, *args: Any, **kwargs: Any) -> Tensor:
        """The next action of each situation ``[B, A]``, by the policy's queues."""
        with self._sampling(plan):
            return self.target.select_action(*args, **kwargs)

    def predict_action_chunk(self, plan: Plan, *args: Any, **kwargs: Any) -> Tensor:
        """Actions ``[B, n_action_steps, A]`` from what the queues hold."""
        with self._sampling(plan):
            return self.target.predict_action_chunk(*args, **kwargs)

    @contextmanager
    def _sampling(self, plan: Plan) -> Iterator[None]:
        """Inside, what the policy samples is planned here."""

        def conditional_sample(
            batch_size: int, global_cond: Any = None, generator: Any = None, noise: Any = None
        ) -> Any:
            if generator is not None:
                raise ValueError("generator: found one, expected None; noise= of accelerate says where noise is drawn")
            return self.ours(plan, batch_size, global_cond=global_cond, noise=noise)

        own = vars(self.target.diffusion)
        self._hidden.append(own.get("conditional_sample"))
        own["conditional_sample"] = conditional_sample
        try:
            yield
        finally:
            del own["conditional_sample"]
            before = self._hidden.pop()
            if before is not None:
                own["conditional_sample"] = before

    def ours(self, plan: Plan, batch_size: int, global_cond: Tensor, noise: Tensor | None = None) -> Tensor:
        """Normalised actions ``[B, H, A]`` under conditions ``[B, C]``, as the policy samples them."""
        import torch

        seen = global_cond.detach().cpu().float().numpy()
        seen = seen.reshape(len(seen), int(self.target.config.n_obs_steps), -1)
        first = None if noise is None else noise.detach().cpu().float().numpy()
        actions = plan({}, 1, condition=seen, first=first).actions[:, 0]
        return torch.from_numpy(np.ascontiguousarray(actions)).to(global_cond)

    def original(self, batch_size: int, global_cond: Tensor) -> Tensor:
        """The policy's own sampling."""
        import torch

        diffusion = self.target.diffusion
        sample = self._own_sample or partial(type(diffusion).conditional_sample, diffusion)
        with torch.no_grad():
            return sample(batch_size, global_cond=global_cond)

    def example(self, checkpoint: Checkpoint, conditions: Mapping[int, Any] | None) -> tuple[tuple, dict[str, Any]]:
        """Situations of their own; conditions are ``{step: normalised observation}``, features of images among them,
        and the same for all."""
        import torch

        if conditions is None:
            seen = np.random.default_rng(0).uniform(-0.8, 0.8, (PLANS, checkpoint.unet.spec.condition))
        else:
            seen = np.concatenate([np.asarray(conditions[t], np.float64) for t in sorted(conditions)])
        like = next(self.modules()[0].parameters())
        return (PLANS,), {"global_cond": torch.as_tensor(seen).expand(PLANS, seen.shape[-1]).to(like)}

    def compared(self, result: Tensor, checkpoint: Checkpoint) -> dict[str, NDArray]:
        """As it is."""
        return {"actions": result.detach().cpu().double().numpy()}
