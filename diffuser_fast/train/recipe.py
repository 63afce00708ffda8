"""Everything that determines a training run, as one record that is stored beside its results."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..core.scalars import flag, plain, real, shown, whole

MOST_SEED = 2**32 - 1
CONDITIONS = {"first": (0,), "first_last": (0, -1)}


@dataclass(frozen=True)
class Recipe:
    """Defaults are the original's for Maze2D U-Maze (Janner et al. 2022, released config), but for learning rate
    and EMA, which suit runs of tens of thousands of steps rather than two million.

    target: "planner" (the denoiser) or "value" (the guide, on discounted returns).
    horizon, dim, dim_mults, attention: the network. n_timesteps: T, diffusion steps (cosine schedule).
    conditions: "first" or "first_last" observation given, in the noisy input and in the prediction.
    given: how many of an observation's last numbers are given so at every time; a plan is told them as conditions.
    action_weight, loss_discount: weights of the squared error (first action; per time). prediction: "x0", "epsilon".
    discount, termination_penalty: of the returns a value network learns. n_step: these are of so many steps, not to a
    path's end, which a time limit may have set: how far that is off is not in a state.
    steps, batch_size, lr: Adam. warmup: steps of linear rise. schedule: "linear", constant until the last fraction
    ``decay`` of the run, which falls linearly to 0; or "cosine", half a cosine from the rise's end to 0.
    max_grad_norm: gradients of a greater 2-norm, over all weights, are scaled down to it; None leaves them.
    ema: decay of the averaged weights, per step, reached gradually: min(ema, (1 + step) / (10 + step)).
    seed: batches, noise and initial weights are all addressed by (seed, step): a resumed run is the same run.
    """

    target: str = "planner"
    horizon: int = 128
    dim: int = 32
    dim_mults: tuple[int, ...] = (1, 4, 8)
    attention: bool = False
    n_timesteps: int = 64
    conditions: str = "first_last"
    given: int = 0
    normalizer: str = "limits"
    clip_denoised: bool = True
    prediction: str = "x0"
    action_weight: float = 1.0
    loss_discount: float = 1.0
    discount: float = 0.997
    termination_penalty: float | None = None
    n_step: int | None = None
    use_padding: bool = False
    max_path_length: int | None = None
    steps: int = 20_000
    batch_size: int = 32
    lr: float = 3e-4
    warmup: int = 500
    schedule: str = "linear"
    decay: float = 0.25
    max_grad_norm: float | None = None
    ema: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, field.type, getattr(self, field.name)))
        _one_of("target", self.target, ("planner", "value"))
        _one_of("conditions", self.conditions, tuple(CONDITIONS))
        _one_of("prediction", self.prediction, ("x0", "epsilon"))
        _one_of("schedule", self.schedule, ("linear", "cosine"))
        for name in ("steps", "batch_size", "n_timesteps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected at least 1")
        if self.given < 0:
            raise ValueError(f"given: found {self.given}, expected at least 0")
        if not 0 <= self.seed <= MOST_SEED:
            raise ValueError(f"seed: found {self.seed}, expected a number from 0 to {MOST_SEED}")
        for name in ("decay", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected a number from 0 to 1")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr: found {self.lr}, expected a positive number")
        if self.n_step is not None and self.n_step < 1:
            raise ValueError(f"n_step: found {self.n_step}, expected at least 1")
        if self.max_grad_norm is not None and not 0 < self.max_grad_norm < math.inf:
            raise ValueError(f"max_grad_norm: found {self.max_grad_norm}, expected a positive number")

    def learning_rate(self, step: int) -> float:
        """Of the update that follows ``step`` finished ones."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "cosine":
            fallen = max(0, step + 1 - self.warmup) / max(1, self.steps - self.warmup)
            return self.lr * rise * (0.5 + 0.5 * math.cos(math.pi * min(1.0, fallen)))
        falling = self.decay * self.steps
        return self.lr * rise * (min(1.0, (self.steps - step) / falling) if falling else 1.0)

    def ema_decay(self, step: int) -> float:
        """Weight of the past average at the update after ``step`` finished ones."""
        return min(self.ema, (1 + step) / (10 + step))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "dim_mults": list(self.dim_mults)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Recipe:
        """The inverse of ``to_json``; ValueError on fields that are not a recipe's."""
        if not isinstance(record, dict):
            raise ValueError(f"recipe: found {shown(record)}, expected a JSON object")
        unknown = set(record) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"recipe: unknown fields {sorted(unknown)}")
        return cls(**record)


# config/maze2d.py of the released code: horizon and diffusion steps per layout.
_MAZES = {"umaze": (128, 64), "medium": (256, 256), "large": (384, 256)}
# config/locomotion.py. What is not the original's: learning rate, its schedule, clipping, EMA and the number of steps.
_BODIES = {
    "normalizer": "gaussian", "conditions": "first", "clip_denoised": False, "n_timesteps": 20, "action_weight": 10.0,
    "use_padding": True, "max_path_length": 1000, "discount": 0.997, "termination_penalty": -100.0,
    "lr": 1e-3, "schedule": "cosine", "max_grad_norm": 1.0,
}  # fmt: skip
# Section 5.3 and appendix C of the paper, on cubes of another arm: a smaller network, of states alone.
_STACKING = {
    "horizon": 128, "n_timesteps": 100, "dim": 64, "dim_mults": (1, 2, 4), "conditions": "first", "given": 20,
    "steps": 30_000, "lr": 1e-3, "schedule": "cosine", "max_grad_norm": 1.0,
}  # fmt: skip
_NETWORKS = {
    "hopper": {"horizon": 32, "dim_mults": (1, 2, 4, 8)},
    "walker2d": {"horizon": 32, "dim_mults": (1, 2, 4, 8)},
    "halfcheetah": {"horizon": 4, "dim_mults": (1, 4, 8), "attention": True},
}


def published(env: str, target: str = "planner") -> Recipe:
    """The original's settings for an environment (released config), for the planner or for the value network.

    Mazes: horizon and diffusion steps per layout. Locomotion: those of all data sets of a body. Stacking: a planner.
    """
    if env == "stacking" and target == "planner":
        return Recipe(**_STACKING)
    layout = next((name for name in _MAZES if env.startswith(("maze2d-", "multi2d-")) and name in env), None)
    if layout is not None:
        horizon, n_timesteps = _MAZES[layout]
        return Recipe(target=target, horizon=horizon, n_timesteps=n_timesteps)
    body = next((name for name in _NETWORKS if env.startswith(name)), None)
    if body is None:
        raise ValueError(
            f"env: no published recipe for {env!r}; there are those of maze2d-{', maze2d-'.join(_MAZES)}, "
            f"{', '.join(_NETWORKS)}, and of a planner of stacking"
        )
    settings = {**_BODIES, **_NETWORKS[body], "steps": 40_000}
    if target == "value":
        settings |= {"attention": False, "steps": 15_000}
    elif body == "halfcheetah":  # windows of four steps: more of them cost little more
        settings |= {"batch_size": 128, "steps": 20_000}
    return Recipe(target=target, **settings)


def _checked(name: str, kind: str, value: Any) -> Any:
    """A field's value as Python's own, checked against its annotation; ValueError names the field."""
    optional = kind.removesuffix(" | None")
    if optional != kind and value is None:
        return None
    if optional in ("int", "float", "bool"):
        return {"int": whole, "float": real, "bool": flag}[optional](name, value)
    if optional == "str":
        if not isinstance(value, str):
            raise ValueError(f"{name}: found {shown(value)}, expected a word")
        return str(value)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name}: found {shown(value)}, expected whole numbers")
    return tuple(whole(name, plain(one), 1) for one in value)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}: found {value!r}, expected one of {', '.join(known)}")
