"""Decision Diffuser (Ajay et al. 2023): the state its Trainer writes, with returns, inverse dynamics, or both.

    checkpoint/{state, state_<step>}.pt     {"step", "model", "ema"}; plans use "ema"
    facts.json                              what no file says: {"diffusion": {"condition_guidance_w", "predict_epsilon",
                                            "clip_denoised", "action_dim"}}, arguments of its classes

With inverse dynamics (``inv_model.*``) a trajectory holds observations alone. The condition is the return to reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint, Weights
from ..core.normalizers import Normalizers
from ..core.samplers import Sampling
from ..core.schedule import Schedule
from ..core.spec import InverseSpec, UNetSpec
from ..core.spelling import setting
from .plain_json import Settings, about, read_json
from .renamed import counted, shape_of, weights
from .state_dict import plain_keys
from .temporal_unet import BLOCKS, levels
from .torch_zip import Archive

FACTS = "facts.json"
WEIGHT = 1.2  # its default condition_guidance_w
_NOISE = 0.5  # all of its noise is halved: the first and each step's
_FIRST = "downs.{}.0.blocks.0.block.0.weight"
_INV = "inv_model."
_MARKS = (_INV, "model.returns_mlp.")
_RULES = (
    (r"^condition\.linear1\.", "returns_mlp.0."),
    (r"^condition\.linear2\.", "returns_mlp.2."),
    (r"^condition\.linear3\.", "returns_mlp.4."),
    *BLOCKS,
    *levels(2),
)
_INVERSE = ((r"^linear1\.", "0."), (r"^linear2\.", "2."), (r"^linear3\.", "4."))


def newest(folder: Path) -> Path | None:
    """The state of a folder, or of its ``checkpoint``: state.pt, or the one of the highest step."""
    found = [p for where in (folder, folder / "checkpoint") for p in where.glob("state*.pt") if p.is_file()]
    return max(found, key=lambda p: (p.name == "state.pt", len(p.name), p.name), default=None)


def is_state(content: object) -> bool:
    """Whether a record is one of its states: the keys of the original's, and more."""
    ema = content.get("ema") if isinstance(content, Mapping) else None
    return isinstance(ema, Mapping) and any(isinstance(key, str) and key.startswith(_MARKS) for key in ema)


def load(
    path: Path, *, action_dim: int | None = None, prediction: str | None = None, clip_denoised: bool | None = None,
    scale: float | None = None, find_value: bool = True, normalizers: Normalizers | None = None,
) -> Checkpoint:  # fmt: skip
    """A run's folder, or its ``state*.pt``.

    action_dim: A, where no inverse dynamics say it. prediction: default "epsilon"; clip_denoised: default True; scale:
    ``condition_guidance_w``, default 1.2. Raises ValueError naming the file: keys or shapes that do not fit, a file
    that is damaged or cut short; FileNotFoundError.
    """
    file = newest(path) if path.is_dir() else path
    if file is None:
        raise FileNotFoundError(f"{path}: no state.pt in this folder, nor in its checkpoint")
    facts, diffusion = _facts(file), Settings({})
    if facts is not None:
        with about(facts):
            record = read_json(facts)
            record.part("model").only("calc_energy", False, False)  # whose network is a gradient, under the same keys
            diffusion = record.part("diffusion")
            epsilon = "epsilon" if diffusion.flag("predict_epsilon", True) else "x0"
            prediction = epsilon if prediction is None else prediction
            clip_denoised = diffusion.flag("clip_denoised", True) if clip_denoised is None else clip_denoised
            scale = diffusion.real("condition_guidance_w", WEIGHT) if scale is None else scale
            action_dim = (
                diffusion.whole("action_dim") if action_dim is None and "action_dim" in diffusion else action_dim
            )
    archive = Archive(file)
    ema = archive.content.get("ema") if isinstance(archive.content, Mapping) else None
    state = archive.state_dict(ema, "ema")
    with about(file):
        state = plain_keys(state)
        unet = unet_weights(state, shape_of(state, "loss_fn.weights", 2)[0])
        inverse = _inverse(state, unet.spec.transition_dim) if any(key.startswith(_INV) for key in state) else None
        if inverse is None and action_dim is None and normalizers is not None:
            action_dim = normalizers.actions.dim
        if inverse is None and action_dim is None:
            raise ValueError(f"nothing says the size of an action; pass {setting('load.action_dim', '...')}")
        return checkpoint_of(
            state, unet,
            action_dim=0 if inverse is not None else action_dim,
            prediction="epsilon" if prediction is None else prediction,
            clip_denoised=True if clip_denoised is None else clip_denoised,
            scale=WEIGHT if scale is None else scale,
            inverse=inverse,
            normalizers=normalizers,
            metadata={"format": "decision_diffuser", "file": file.name},
        )  # fmt: skip


def checkpoint_of(state: Mapping[str, NDArray], unet: Weights, *, scale: float, **fields: Any) -> Checkpoint:
    """A state dict's schedule and network -> Checkpoint. scale: ``condition_guidance_w``; fields: its others."""
    return Checkpoint(
        unet=unet,
        schedule=Schedule.from_buffers(state),
        sampling=Sampling(noise=_NOISE, first_noise=_NOISE),
        condition_weight=scale if unet.spec.condition else 1.0,
        **fields,
    )


def _facts(file: Path) -> Path | None:
    beside = [folder / FACTS for folder in (file.parent, file.parent.parent)]
    return next((path for path in beside if path.is_file()), None)


def unet_weights(state: Mapping[str, NDArray], horizon: int) -> Weights:
    """The TemporalUnet of a diffusion's state dict."""
    network = {key.removeprefix("model."): array for key, array in state.items() if key.startswith("model.")}
    if "mlp.0.weight" in network:
        raise ValueError("a diffusion of single actions (MLPnet), expected one of trajectories (TemporalUnet)")
    dim = shape_of(network, "time_mlp.1.weight", 2)[1]
    first = shape_of(network, _FIRST.format(0), 3)
    widths = tuple(shape_of(network, _FIRST.format(i), 3)[0] for i in range(counted(network, _FIRST)))
    returns = "returns_mlp.0.weight" in network
    spec = UNetSpec(
        horizon=horizon, transition_dim=first[1], dim=dim, dim_mults=(), widths=widths, kernel_size=first[2],
        condition=1 if returns else 0, condition_mlp=(dim, 4 * dim, dim) if returns else (),
    )  # fmt: skip
    return weights(spec, network, _RULES)


def _inverse(state: Mapping[str, NDArray], depth: int) -> Weights:
    own = {key.removeprefix(_INV): array for key, array in state.items() if key.startswith(_INV)}
    if "state_embed.0.weight" in own:
        raise ValueError("its inverse dynamics draw their actions (ar_inv), expected those that compute them")
    hidden = tuple(shape_of(own, f"{i}.weight", 2)[0] for i in (0, 2))
    spec = InverseSpec(depth, shape_of(own, "4.weight", 2)[0], hidden)
    return weights(spec, own, _INVERSE)
