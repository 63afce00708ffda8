"""Decision Diffuser: a GaussianDiffusion of its own, with inverse dynamics or not.

``diffusion(cond, returns=returns)``: normalised conditions in, normalised trajectories out. Inverse dynamics stay the
object's own (``diffusion.inv_model``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint
from ..core.normalizers import Affine, Normalizers
from ..formats import decision_diffuser
from .modules import array_of, arrays, unwrapped
from .relative import Facts, Relative, refuse_parts
from .subject import PLANS, Plan, Reading, Subject
from .ways import ways

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

EXPECTED = "a diffusion of Decision Diffuser"
_PARTS = (
    "condition_guidance_w", "returns_condition", "conditional_sample", "model", "betas", "horizon", "observation_dim",
    "action_dim", "clip_denoised", "predict_epsilon", "n_timesteps",
)  # fmt: skip


def find(target: Any, **parts: Any) -> Subject | None:
    """A diffusion by its parts."""
    if not all(hasattr(unwrapped(target), name) for name in _PARTS):
        return None
    refuse_parts("this one", parts)
    return DiffusionSubject(target)


class DiffusionSubject(Relative):
    """A plan for each of B observations and returns. asked: the horizon of the last call."""

    methods = ("forward", "conditional_sample")

    def __init__(self, diffusion: Any) -> None:
        self.target = diffusion
        self.asked = int(self.diffusion.horizon)

    @property
    def diffusion(self) -> Any:
        """The diffusion itself."""
        return unwrapped(self.target)

    def modules(self) -> list[nn.Module]:
        """Its schedule and network."""
        return [self.diffusion]

    @property
    def device(self) -> torch.device:
        """Where its schedule is."""
        return self.diffusion.betas.device

    @property
    def _actions(self) -> int:
        """A, of a trajectory: none where inverse dynamics find them."""
        return 0 if hasattr(self.diffusion, "inv_model") else int(self.diffusion.action_dim)

    @property
    def depth(self) -> int:
        """D."""
        return self._actions + int(self.diffusion.observation_dim)

    def settings(self) -> Facts:
        """As they are now."""
        diffusion = self.diffusion
        said = {name: getattr(diffusion, name) for name in _PARTS if name not in ("model", "betas")}
        numbers = sorted((name, repr(value)) for name, value in said.items() if not callable(value))
        return Facts((self.asked,), repr(numbers), (ways(diffusion), ways(unwrapped(diffusion.model))))

    def readings(self, settings: Facts) -> list[Reading]:
        """One: every number of it is an attribute."""
        diffusion = self.diffusion
        if getattr(unwrapped(diffusion.model), "calc_energy", False):
            raise ValueError(
                "policy: its network is the gradient of an energy (calc_energy), which is not planned with"
            )
        state, (horizon,) = arrays(diffusion), settings.asked
        if int(diffusion.n_timesteps) != len(diffusion.betas):
            raise ValueError(
                f"policy: its n_timesteps is {int(diffusion.n_timesteps)}, its buffers are for {len(diffusion.betas)} "
                "steps"
            )
        unet = decision_diffuser.unet_weights(state, horizon)
        checkpoint = decision_diffuser.checkpoint_of(
            state, unet,
            action_dim=self._actions,
            prediction="epsilon" if diffusion.predict_epsilon else "x0",
            clip_denoised=bool(diffusion.clip_denoised),
            scale=float(diffusion.condition_guidance_w),
            normalizers=Normalizers(Affine.identity(self.depth - self._actions), Affine.identity(self._actions)),
            metadata={"source": type(diffusion).__name__},
        )  # fmt: skip
        # The pass without the return draws which returns to leave out, and then leaves out all.
        return [Reading(checkpoint, None, horizon, beside=(PLANS, 1) if unet.spec.condition else None)]

    def torch_tape(
        self, plans: int, horizon: int, steps: int, first: NDArray | None = None
    ) -> NDArray[np.float32]:  # fmt: skip
        """The first noise, and for each step which returns to leave out, and its noise."""
        import torch

        shape, network, drawn = (plans, horizon, self.depth), unwrapped(self.diffusion.model), []
        for step in range(steps + 1):
            if step and self.diffusion.returns_condition:
                torch.bernoulli(torch.tensor(1 - network.condition_dropout).expand(plans, 1))
            drawn.append(torch.randn(shape, device=self.device).cpu().numpy())
        return np.stack(drawn)

    def call(
        self, plan: Plan, cond: Mapping[int, Any], returns: Any = None, horizon: int | None = None, *args: Any,
        verbose: bool = True, return_diffusion: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        """Trajectories ``[B, H, D]`` under ``{time: [B, O]}`` and returns ``[B, 1]``; with their chains if asked."""
        import torch

        verbose, return_diffusion = (*args, verbose, return_diffusion)[:2] if args else (verbose, return_diffusion)
        self.asked = int(horizon or self.diffusion.horizon)
        given = {t: array_of(f"cond[{t!r}]", obs, 2) for t, obs in cond.items()}
        condition = None
        if self.diffusion.returns_condition:
            if returns is None:
                raise ValueError("returns: missing; the diffusion is conditioned on them")
            condition = array_of("returns", returns, 2)
        plans = plan(given, 1, condition=condition, return_chain=return_diffusion)
        parts = (plans.actions, plans.observations) if self._actions else (plans.observations,)
        x = torch.from_numpy(np.concatenate(parts, axis=-1)[:, 0]).to(self.device)
        return (x, torch.from_numpy(plans.chain[:, 0]).to(self.device)) if return_diffusion else x

    def original(self, cond: Mapping[int, Tensor], **kwargs: Any) -> Tensor:
        """The diffusion's own."""
        import torch

        with torch.no_grad():
            return self.target(cond, verbose=False, **kwargs)

    def example(self, checkpoint: Checkpoint, conditions: Mapping[int, Any] | None) -> tuple[tuple, dict[str, Any]]:
        """Situations of their own, with a goal; conditions are normalised here, and the same for all."""
        import torch

        if conditions is None:
            inside = np.random.default_rng(0).uniform(-0.8, 0.8, (2, PLANS, checkpoint.observation_dim))
            conditions = dict(zip((0, self.asked - 1), inside))

        def tensor(numbers: Any) -> Tensor:
            array = np.asarray(numbers, np.float32)
            return torch.as_tensor(array, device=self.device).expand(PLANS, array.shape[-1])

        given = {"returns": tensor([[0.9], [0.5], [0.7]])} if self.diffusion.returns_condition else {}
        return ({t: tensor(obs) for t, obs in conditions.items()},), {**given, "horizon": self.asked}

    def compared(self, result: Tensor, checkpoint: Checkpoint) -> dict[str, NDArray]:
        """As it is."""
        return {"trajectories": result.detach().cpu().double().numpy()}
