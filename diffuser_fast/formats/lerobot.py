"""Hugging Face lerobot: a DiffusionPolicy's folder, as ``save_pretrained`` writes it.

    config.json                                 everything but weights and statistics
    model.safetensors                           the U-Net's keys under "diffusion.unet."; encoders of images beside
    policy_{pre,post}processor.json             which file has the statistics (since 0.4)
    policy_*_step_<n>_*normalizer*.safetensors  <feature>.<min, max, mean or std>; before 0.4 they are in the model's

An observation is, for each step, the state, features of the images, and the environment's state, in this order.
Encoders of images are not read: their features are given as part of the observation, and are not normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Acting, Checkpoint, Weights
from ..core.normalizers import Affine, Normalizers
from .conditional_unet import rules, unet_weights
from .ddpm_scheduler import inference_steps, scheduler
from .plain_json import Settings, about, read_json
from .renamed import readable
from .tensors import read_tensors

_FIRST = "conv1"
_RULES = rules(_FIRST, "conv2", "2")
_PREFIX = "diffusion.unet."
_STATE, _ENVIRONMENT, _ACTION = "observation.state", "observation.environment_state", "action"
_EPS = 1e-8  # that it divides by beside a standard deviation
_OLD = {"normalize_inputs": (_STATE, _ENVIRONMENT), "unnormalize_outputs": (_ACTION,)}  # inside the model's file

Statistics = Mapping[str, NDArray]


def policy_type(path: Path) -> str | None:
    """What kind of policy a folder holds; None if it is no policy's."""
    config = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    kind = config.get("type") if "output_features" in config else None
    return readable(kind) if isinstance(kind, str) else None


def is_folder(path: Path) -> bool:
    """Whether a folder is one of its diffusion policies'."""
    return policy_type(path) == "diffusion"


def load(path: Path, *, find_value: bool = True, normalizers: Normalizers | None = None) -> Checkpoint:
    """A policy's folder. normalizers: instead of its own.

    Raises ValueError naming the file: keys or shapes that do not fit, options that its networks do not show, statistics
    that are missing, a file that is damaged or cut short; FileNotFoundError.
    """
    file, weights_file = path / "config.json", path / "model.safetensors"
    config = read_json(file)
    with about(file):
        config.only("type", None, "diffusion")
        schedule = scheduler(config, config.text("noise_scheduler_type", "DDPM"), inference_steps(config))
        features = {name: _size(config, "input_features", name) for name in (_STATE, _ENVIRONMENT)}
        action_dim = _size(config, "output_features", _ACTION)
        facts = facts_of(config)
    tensors = read_tensors(weights_file)
    with about(weights_file):
        network = {key.removeprefix(_PREFIX): array for key, array in tensors.items() if key.startswith(_PREFIX)}
        unet = facts.weights(network)
        checkpoint = Checkpoint(
            unet=unet,
            action_dim=action_dim,
            acting=facts.acting,
            normalizers=normalizers,
            metadata={
                "format": "lerobot",
                "folder": path.name,
                "images": _images(features, unet.spec.condition, facts.acting.history),
            },
            **schedule.fields,
        )
    if normalizers is not None:
        return checkpoint
    found = _normalizers(path, config, tensors, features, action_dim, checkpoint.observation_dim)
    with about(path):
        return replace(checkpoint, normalizers=found)


@dataclass(frozen=True)
class Facts:
    """What a policy's configuration says of its network and of how it acts."""

    horizon: int
    groups: int
    film: bool
    acting: Acting

    def weights(self, network: Mapping[str, NDArray]) -> Weights:
        """Those of its U-Net, out of their state dict."""
        return unet_weights(network, self.horizon, self.groups, self.film, _RULES, _FIRST)


def facts_of(config: Settings) -> Facts:
    """Out of a ``DiffusionConfig``, or its file."""
    history = config.whole("n_obs_steps", None, 1)
    return Facts(
        horizon=config.whole("horizon", None, 1),
        groups=config.whole("n_groups", None, 1),
        film=config.flag("use_film_scale_modulation", True),
        acting=Acting("condition", history, history - 1, config.whole("n_action_steps", None, 1)),
    )


def _size(config: Settings, part: str, name: str) -> int:
    """How many numbers a feature has; 0 for one that the policy does not take."""
    feature = config.part(part).part(name)
    if not feature:
        return 0
    shape = feature.wholes("shape", 1)
    return shape[0]


def _images(features: Mapping[str, int], condition: int, history: int) -> int:
    """Numbers of an observation that are features of images."""
    images, rest = divmod(condition, history)
    images -= sum(features.values())
    if rest or images < 0:
        known = sum(features.values())
        raise ValueError(
            f"its condition is {condition} numbers, of {history} steps with {known} numbers of states each"
        )
    return images


def _normalizers(
    path: Path,
    config: Settings,
    tensors: Statistics,
    features: Mapping[str, int],
    action_dim: int,
    observation_dim: int,
) -> Normalizers:
    inputs, outputs, modes = _statistics(path, config, tensors)
    state = _field(inputs, modes, "STATE", _STATE, features[_STATE], back=False)
    environment = _field(inputs, modes, "ENV", _ENVIRONMENT, features[_ENVIRONMENT], back=False)
    images = observation_dim - state.dim - environment.dim
    parts = (state, Affine.identity(images), environment)
    observations = Affine(np.concatenate([p.scale for p in parts]), np.concatenate([p.offset for p in parts]))
    return Normalizers(observations, _field(outputs, modes, "ACTION", _ACTION, action_dim, back=True))


def _field(stats: Statistics, modes: Settings, kind: str, name: str, dim: int, *, back: bool) -> Affine:
    """What maps a feature; back: the policy only ever maps it back, and then divides by nothing."""
    mode = modes.text(kind, "IDENTITY")
    if mode == "IDENTITY" or not dim:
        return Affine.identity(dim)
    if mode not in ("MIN_MAX", "MEAN_STD"):
        raise ValueError(f"normalization_mapping: found {mode[:60]!r}, expected MIN_MAX, MEAN_STD or IDENTITY")
    pair = ("min", "max") if mode == "MIN_MAX" else ("mean", "std")
    missing = [f"{name}.{part}" for part in pair if f"{name}.{part}" not in stats]
    if missing:
        raise ValueError(f"its statistics lack {', '.join(missing)}")
    first, second = (np.asarray(stats[f"{name}.{part}"], np.float64).reshape(-1) for part in pair)
    if first.shape != (dim,) or second.shape != (dim,) or not np.isfinite([first, second]).all():
        raise ValueError(f"statistics of {name}: expected {dim} finite numbers each")
    if mode == "MEAN_STD":
        scale = 1 / np.where(second > 0, second, _EPS) if back else 1 / (second + _EPS)
        return Affine(scale, -first * scale)
    width = np.where(second == first, _EPS, second - first)
    return Affine(2 / width, -1 - 2 * first / width)


def _statistics(path: Path, config: Settings, tensors: Statistics) -> tuple[Statistics, Statistics, Settings]:
    """Statistics of inputs and of outputs, and the mode of each kind of feature."""
    before, after = (path / f"policy_{which}processor.json" for which in ("pre", "post"))
    modes = config.part("normalization_mapping")
    if before.is_file() and after.is_file():
        inputs, said = _processor(before, "normalizer_processor")
        outputs, _ = _processor(after, "unnormalizer_processor")
        return inputs, outputs, said or modes
    found: dict[str, NDArray] = {}
    for module, names in _OLD.items():
        for name in names:
            start = f"{module}.buffer_{name.replace('.', '_')}."
            found |= {f"{name}.{key.removeprefix(start)}": a for key, a in tensors.items() if key.startswith(start)}
    return found, found, modes


def _processor(file: Path, kind: str) -> tuple[Statistics, Settings]:
    config = read_json(file)
    with about(file):
        steps = config.get("steps")
        steps = (
            [Settings(step, "steps.") for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
        )
        step = next((step for step in steps if step.get("registry_name") == kind), None)
        if step is None:
            raise ValueError(f"steps: no {kind} among them")
        name = step.text("state_file")
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"steps.state_file: found {name[:100]!r}, expected a .safetensors file beside it")
    return read_tensors(file.parent / name), step.part("config").part("norm_map")
