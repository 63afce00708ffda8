"""CleanDiffuser: a DiscreteDiffusionSDE or a continuous one, over a JannerUNet1d; ``agent.sample(prior, ...)``.

Normalised trajectories in and out; what is known of one is where ``fix_mask`` is 1, its values are the prior's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint
from ..core.normalizers import Affine, Normalizers
from ..core.scalars import shown
from ..core.schedule import Schedule
from ..formats import cleandiffuser
from .modules import array_of, arrays, unwrapped
from .relative import Facts, Relative, refuse_parts
from .subject import PLANS, Plan, Reading, Subject
from .ways import ways

if TYPE_CHECKING:
    from torch import Tensor, nn

EXPECTED = "a diffusion SDE of CleanDiffuser"
_PARTS = ("model", "model_ema", "classifier", "fix_mask", "predict_noise", "x_max", "x_min", "sample")
_PROCESS = ("alpha", "noise_schedule_funcs")  # of a discrete process, and of a continuous one
# Arguments of ``sample`` that a compiled loop does not take, and what they are where they do nothing.
_IDLE = {
    "condition_cfg": None, "mask_cfg": None, "condition_cg": None, "diffusion_x_sampling_steps": 0,
    "warm_start_reference": None, "requires_grad": False,
}  # fmt: skip
_GRIDS = ("uniform", "uniform_continuous")


class Asked(NamedTuple):
    """Of one call: H, and arguments of ``sample``."""

    horizon: int
    solver: str = "ddpm"
    sample_steps: int = 5
    use_ema: bool = True
    temperature: float = 1.0
    w_cg: float = 0.0


def find(target: Any, **parts: Any) -> Subject | None:
    """An agent by its parts."""
    if not all(hasattr(target, name) for name in _PARTS) or not any(hasattr(target, name) for name in _PROCESS):
        return None
    refuse_parts("the agent", parts)
    return AgentSubject(target)


class AgentSubject(Relative):
    """A plan for each prior. asked: what the last call asked for; before it, the defaults of ``sample``."""

    methods = ("sample",)

    def __init__(self, agent: Any) -> None:
        self.target = agent
        mask = self._given_mask()
        self.asked = Asked(mask.shape[-2] if mask.ndim >= 2 else 1 << 5)

    def modules(self) -> list[nn.Module]:
        """The denoiser that plans, and the classifier."""
        which = self.target.model_ema if self.asked.use_ema else self.target.model
        classifier = self.target.classifier
        return [which["diffusion"], *([] if classifier is None else [classifier.model_ema])]

    @property
    def depth(self) -> int:
        """D."""
        return len(unwrapped(self.modules()[0]).get_parameter("final_conv.3.weight"))

    @property
    def _discrete(self) -> bool:
        return hasattr(self.target, "alpha")

    def draws(self, steps: int) -> int:
        """The first, and of DDPM one for each step but the last."""
        return self.asked.sample_steps if self.asked.solver == "ddpm" else 1

    def _given_mask(self) -> NDArray[np.float64]:
        mask = self.target.fix_mask
        return np.asarray(mask.detach().cpu().double() if hasattr(mask, "detach") else mask, np.float64)

    def _mask(self) -> NDArray[np.bool_]:
        """What is known of a trajectory: ``[H, D]``."""
        mask = self._given_mask()
        if not np.isin(mask, (0, 1)).all():
            raise ValueError("fix_mask: found numbers between, expected 0 or 1 everywhere")
        try:
            return np.broadcast_to(mask, (1, self.asked.horizon, self.depth))[0] == 1
        except ValueError:
            shape = [self.asked.horizon, self.depth]
            raise ValueError(f"fix_mask: found shape {list(mask.shape)}, the prior has {shape}") from None

    def _limit(self) -> float | None:
        """``x_max``, if everything is clipped alike; None if nothing is."""
        high, low = self.target.x_max, self.target.x_min
        if high is None and low is None:
            return None
        highs, lows = (np.empty(0) if x is None else np.ravel(array_of("x_max", x)) for x in (high, low))
        if not highs.size or not lows.size or np.ptp(highs) or np.ptp(lows) or highs[0] != -lows[0]:
            raise ValueError("x_max, x_min: expected one number for everything, and its negative")
        return float(highs[0])

    def settings(self) -> Facts:
        """As they are now."""
        agent, classifier = self.target, self.target.classifier
        said = (bool(agent.predict_noise), self._limit(), self._mask().tobytes(), self.asked.solver)
        alpha = array_of("alpha", agent.alpha).tobytes() if self._discrete else repr(agent.noise_schedule_params)
        behind = tuple(map(ways, (agent, *self.modules(), classifier)))
        return Facts(self.asked, repr((said, alpha)), behind, abs(self.asked.w_cg))

    def readings(self, settings: Facts) -> list[Reading]:
        """Told of whole steps or of real ones: that was not the same in all versions of a discrete process."""
        agent, asked = self.target, settings.asked
        if self._discrete:
            schedule, n_steps = Schedule.from_alphas_cumprod(array_of("alpha", agent.alpha) ** 2), asked.sample_steps
        else:
            schedule, n_steps = self._continuous(asked.sample_steps), asked.sample_steps
        tensors = [arrays(module) for module in self.modules()]
        found = []
        for whole in (True, False) if self._discrete else (False,):
            value = cleandiffuser.classifier_weights(tensors[1], asked.horizon, whole=whole) if tensors[1:] else None
            checkpoint = cleandiffuser.checkpoint_of(
                cleandiffuser.unet_weights(tensors[0], asked.horizon, whole=whole), value, schedule, action_dim=0,
                prediction="epsilon" if agent.predict_noise else "x0", solver=asked.solver, n_steps=n_steps,
                scale=asked.w_cg, temperature=asked.temperature, clip_range=self._limit(),
                normalizers=Normalizers(Affine.identity(self.depth), Affine.identity(0)),
                metadata={"source": type(agent).__name__},
            )  # fmt: skip
            guide = None if value is None else checkpoint.guide
            found.append(Reading(checkpoint, guide, asked.horizon, draws=self.draws(n_steps)))
        return found

    def _continuous(self, n: int) -> Schedule:
        """The times of n steps, and what its functions say of them."""
        import torch

        agent = self.target
        t = torch.linspace(float(agent.t_diffusion[0]), float(agent.t_diffusion[1]), n + 1)
        alpha, _ = agent.noise_schedule_funcs["forward"](t, **(agent.noise_schedule_params or {}))
        return Schedule.from_alphas_cumprod(array_of("alpha", alpha) ** 2, t.double().numpy())

    def call(
        self, plan: Plan, prior: Tensor, solver: str = "ddpm", n_samples: int = 1, sample_steps: int = 5,
        sample_step_schedule: Any = None, use_ema: bool = True, temperature: float = 1.0, *, w_cg: float = 0.0,
        w_cfg: float = 0.0, preserve_history: bool = False, warm_start_forward_level: float = 0.3, **others: Any,
    ) -> tuple[Tensor, dict[str, Any]]:  # fmt: skip
        """``sample``: trajectories ``[n, H, D]`` and the log, with ``log_p`` ``[n, 1]`` where there is a classifier."""
        import torch

        for name, value in others.items():
            idle = _IDLE.get(name)
            if name in _IDLE and value is not idle and value != idle:
                raise ValueError(f"{name}: found {shown(value)}, expected {idle!r}: a compiled loop has no such thing")
        if sample_step_schedule not in (None, *_GRIDS):
            raise ValueError(
                f"sample_step_schedule: found {shown(sample_step_schedule)}, expected {' or '.join(_GRIDS)}"
            )
        known = array_of("prior", prior, 3)
        self.asked = Asked(known.shape[1], solver, int(sample_steps), bool(use_ema), float(temperature), float(w_cg))
        if known.shape[2] != self.depth:
            raise ValueError(f"prior: found trajectories of {known.shape[2]} numbers, the network has {self.depth}")
        mask = self._mask()
        conditions = {
            t: {int(d): known[:, t, d] for d in np.flatnonzero(mask[t])} for t in np.flatnonzero(mask.any(axis=1))
        }
        if not conditions:
            raise ValueError("fix_mask: nothing of a trajectory is known, expected an observation at least")
        plans = plan({int(t): given for t, given in conditions.items()}, 1, return_chain=preserve_history)
        log: dict[str, Any] = {"sample_history": None}
        if preserve_history:
            log["sample_history"] = plans.chain[:, 0, : self.asked.sample_steps + 1]
        if self.target.classifier is not None:
            log["log_p"] = torch.from_numpy(plans.values).to(prior)
        return torch.from_numpy(np.ascontiguousarray(plans.observations[:, 0])).to(prior), log

    def original(self, prior: Tensor, **kwargs: Any) -> tuple[Tensor, dict[str, Any]]:
        """The agent's own."""
        return self.target.sample(prior, **kwargs)

    def example(self, checkpoint: Checkpoint, conditions: Mapping[int, Any] | None) -> tuple[tuple, dict[str, Any]]:
        """Priors of their own; conditions are ``{time: all that is known there, normalised}``, the same for all."""
        import torch

        prior, mask = np.zeros((PLANS, self.asked.horizon, self.depth), np.float32), self._mask()
        inside = np.random.default_rng(0).uniform(-0.8, 0.8, prior.shape)
        prior[:, mask] = inside[:, mask]
        for t, given in (conditions or {}).items():
            prior[:, t, mask[t]] = given
        asked = self.asked._asdict()
        del asked["horizon"]
        return (torch.from_numpy(prior).to(self.device),), {"n_samples": PLANS, **asked}

    def compared(self, result: tuple[Tensor, dict[str, Any]], checkpoint: Checkpoint) -> dict[str, NDArray]:
        """As it is."""
        x, log = result
        found = {"trajectories": x} | ({"log_p": log["log_p"]} if log.get("log_p") is not None else {})
        return {name: tensor.detach().cpu().double().numpy() for name, tensor in found.items()}
