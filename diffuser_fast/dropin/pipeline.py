"""Hugging Face diffusers: a ValueGuidedRLPipeline, called as it is, ``pipeline(obs, batch_size=64, ...)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint
from ..core.normalizers import Gaussian, Normalizers
from ..core.scalars import shown
from ..formats import diffusers
from ..formats.ddpm_scheduler import scheduler
from ..formats.plain_json import Settings
from .modules import arrays, unwrapped
from .relative import Facts, Relative, kind_of, refuse_parts, settings_of
from .subject import PLANS, Plan, Reading, Subject
from .ways import ways

if TYPE_CHECKING:
    from torch import nn

EXPECTED = "a ValueGuidedRLPipeline of diffusers"
_PARTS = ("unet", "value_function", "scheduler", "means", "stds", "action_dim", "run_diffusion")


def find(target: Any, **parts: Any) -> Subject | None:
    """A pipeline by its parts."""
    if not all(hasattr(target, name) for name in _PARTS):
        return None
    refuse_parts("a pipeline", parts)
    return PipelineSubject(target)


class PipelineSubject(Relative):
    """The pipeline's arguments are of one call: whichever was asked for last is what is read."""

    def __init__(self, pipeline: Any) -> None:
        self.target = pipeline
        levels = len(settings_of(unwrapped(pipeline.value_function).config)["block_out_channels"])
        longest = 1 << (levels + 2)  # that the value function can judge
        self.asked = (min(diffusers.HORIZON, longest), 2, 0.1)  # horizon, guide steps, scale: its defaults

    def modules(self) -> list[nn.Module]:
        """The denoiser and the value function."""
        return [self.target.unet, self.target.value_function]

    @property
    def depth(self) -> int:
        """D."""
        return int(settings_of(unwrapped(self.target.unet).config)["in_channels"])

    def settings(self) -> Facts:
        """As they are now."""
        pipeline = self.target
        configs = [settings_of(unwrapped(part).config) for part in (pipeline.unet, pipeline.value_function)]
        configs.append(settings_of(pipeline.scheduler.config))
        said = sorted((str(key), repr(value)) for config in configs for key, value in config.items())
        statistics = [
            (key, float(pipeline.means[key]), float(pipeline.stds[key])) for key in ("observations", "actions")
        ]
        behind = map(ways, (pipeline, *map(unwrapped, self.modules()), pipeline.scheduler))
        _, steps, scale = self.asked
        return Facts(self.asked, repr((said, statistics, self._times())), tuple(behind), abs(scale) * steps)

    def _times(self) -> list[int]:
        """Of the loop, which are the scheduler's."""
        return [int(t) for t in self.target.scheduler.timesteps]

    def readings(self, settings: Facts) -> list[Reading]:
        """One: every number of it is said."""
        pipeline, (horizon, steps, scale) = self.target, settings.asked
        process = Settings(settings_of(pipeline.scheduler.config))
        found = scheduler(process, kind_of(pipeline.scheduler), None)
        times, n = self._times(), found.schedule.n_steps
        if times != list(range(n))[::-1]:
            raise ValueError(
                f"policy: its scheduler's timesteps are {shown(times)}, expected those of training, {n - 1} to 0; "
                f"scheduler.set_timesteps({n}) sets them"
            )
        unet, value = (unwrapped(part) for part in (pipeline.unet, pipeline.value_function))
        guide = diffusers.guide_of(found, scale, steps)
        observed = self.depth - int(pipeline.action_dim)
        sizes = {"observations": observed, "actions": int(pipeline.action_dim)}
        fields = {
            name: Gaussian(np.full(size, float(pipeline.means[name])), np.full(size, float(pipeline.stds[name])))
            for name, size in sizes.items()
        }
        checkpoint = Checkpoint(
            unet=diffusers.network(Settings(settings_of(unet.config)), arrays(unet), horizon, value=False),
            value=diffusers.network(Settings(settings_of(value.config)), arrays(value), horizon, value=True),
            action_dim=sizes["actions"],
            guide=guide,
            **found.fields,
            normalizers=Normalizers(**fields),
            metadata={"source": type(pipeline).__name__},
        )
        return [Reading(checkpoint, guide, horizon, draws=found.schedule.n_steps)]

    def call(
        self, plan: Plan, obs: Any, batch_size: int = 64, planning_horizon: int = 32, n_guide_steps: int = 2,
        scale: float = 0.1,
    ) -> NDArray:  # fmt: skip
        """The first action of the best plan ``[A]``, as the pipeline's own call returns it."""
        self.asked = (int(planning_horizon), int(n_guide_steps), float(scale))
        return plan({0: np.asarray(obs)}, batch_size).actions[0, 0]

    def original(self, obs: Any, **kwargs: Any) -> NDArray:
        """The pipeline's own call."""
        return self.target(obs, **kwargs)

    def example(self, checkpoint: Checkpoint, conditions: Mapping[int, Any] | None) -> tuple[tuple, dict[str, Any]]:
        """An observation inside the data. (The pipeline cannot make one plan.)"""
        horizon, steps, scale = self.asked
        if conditions is None:
            inside = np.random.default_rng(0).uniform(-0.8, 0.8, checkpoint.observation_dim)
            obs = checkpoint.normalizers.observations.unnormalize(inside).astype(np.float32)
        else:
            obs = conditions[0]
        given = {"batch_size": PLANS, "planning_horizon": horizon, "n_guide_steps": steps, "scale": scale}
        return (obs,), given

    def compared(self, result: NDArray, checkpoint: Checkpoint) -> dict[str, NDArray]:
        """Normalised."""
        return {"the action": checkpoint.normalizers.actions.normalize(np.asarray(result))}
