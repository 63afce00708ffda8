"""real-stanford/diffusion_policy: checkpoints of DiffusionUnetLowdimPolicy, the state-based one.

    <run>/checkpoints/{latest, epoch=...}.ckpt      torch's archive with {"cfg", "state_dicts", "pickles"}

``cfg`` (an OmegaConf record) says it all but the weights and statistics, which are in ``state_dicts``: those of
"ema_model", or of "model" for a run without an average. Its pickles are read as inert records, and nothing in them is
run; "pickles" is not read at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..core.checkpoint import Acting, Checkpoint
from ..core.normalizers import Affine, Normalizers
from . import omegaconf
from .conditional_unet import rules, unet_weights
from .ddpm_scheduler import inference_steps, scheduler
from .plain_json import Settings, about
from .renamed import some
from .state_dict import plain_keys
from .torch_zip import Archive

_FIRST = "blocks.0"
_RULES = rules(_FIRST, "blocks.1", "2.conv")
_POLICY = "DiffusionUnetLowdimPolicy"


def newest(folder: Path) -> Path | None:
    """The checkpoint of a run's folder, or of its ``checkpoints``: latest.ckpt, or the last by name."""
    found = [*folder.glob("*.ckpt"), *folder.glob("checkpoints/*.ckpt")]
    return max(found, key=lambda p: (p.name == "latest.ckpt", p.name), default=None)


def load(path: Path, *, find_value: bool = True, normalizers: Normalizers | None = None) -> Checkpoint:
    """A ``.ckpt``, or a run's folder. normalizers: instead of its own.

    Raises ValueError naming the file: another policy (images, transformers), keys or shapes that do not fit, a file
    that is damaged or cut short; FileNotFoundError.
    """
    file = newest(path) if path.is_dir() else path
    if file is None:
        raise FileNotFoundError(f"{path}: no .ckpt in this folder")
    archive = Archive(file)
    with about(file):
        content = archive.content if isinstance(archive.content, Mapping) else {}
        config = Settings(omegaconf.plain(content.get("cfg")))
        policy = config.part("policy")
        name = policy.text("_target_").rpartition(".")[2]
        if name != _POLICY:
            raise ValueError(f"policy: found {name[:100]}, expected {_POLICY}, which takes states and no images")
        model, process = policy.part("model"), policy.part("noise_scheduler")
        kind = process.text("_target_").rpartition(".")[2].removesuffix("Scheduler")
        film = model.flag("cond_predict_scale", False)
        states = content.get("state_dicts")
        states = states if isinstance(states, Mapping) else {}
        which = "ema_model" if "ema_model" in states else "model"
        if which not in states:
            raise ValueError(f"state_dicts: found {some(map(str, states))}, expected ema_model or model")
    state = archive.state_dict(states[which], which)
    with about(file):
        metadata = {"format": "diffusion_policy", "file": file.name, "weights": which}
        found = checkpoint_of(
            plain_keys(state),
            policy,
            process,
            kind,
            groups=model.whole("n_groups", 8, 1),
            film=film,
            metadata=metadata,
        )
        return found if normalizers is None else replace(found, normalizers=normalizers)


def checkpoint_of(
    state: Mapping[str, NDArray], policy: Settings, process: Settings, kind: str, *, groups: int, film: bool,
    metadata: Mapping[str, Any],
) -> Checkpoint:  # fmt: skip
    """A policy's state dict and settings -> Checkpoint. process: of a scheduler of this kind. ValueError."""
    local, globally = (policy.flag(f"obs_as_{kind}_cond", False) for kind in ("local", "global"))
    short = policy.flag("pred_action_steps_only", False)  # plans are of those actions that are executed
    policy.only("eta", 0.0, 0, 0.0)  # what its scheduler's step is given beside
    if local and globally:
        raise ValueError("obs_as_local_cond: found True beside obs_as_global_cond, expected one of them or neither")
    if short and not globally:
        raise ValueError("pred_action_steps_only: found True, expected False without obs_as_global_cond")
    schedule = scheduler(process, kind, inference_steps(policy))
    network = {key.removeprefix("model."): array for key, array in state.items() if key.startswith("model.")}
    history, steps = policy.whole("n_obs_steps", None, 1), policy.whole("n_action_steps", None, 1)
    horizon = steps if short else policy.whole("horizon", None, 1)
    return Checkpoint(
        unet=unet_weights(network, horizon, groups, film, _RULES, _FIRST),
        action_dim=policy.whole("action_dim", None, 1),
        **schedule.fields,
        acting=Acting(
            observed="condition" if globally else "local" if local else "after",
            history=history,
            first=0 if short else history - policy.flag("oa_step_convention", False),
            steps=steps,
        ),
        normalizers=_normalizers(state),
        metadata=metadata,
    )


def _normalizers(state: Mapping[str, NDArray]) -> Normalizers:
    """x_n = scale x + offset, as its LinearNormalizer keeps them."""

    def field(name: str) -> Affine:
        keys = [f"normalizer.params_dict.{name}.{part}" for part in ("scale", "offset")]
        if missing := [key for key in keys if key not in state]:
            raise ValueError(f"it lacks {some(missing)}")
        return Affine(*(state[key] for key in keys))

    return Normalizers(observations=field("obs"), actions=field("action"))
