"""The kuka branch of the original: a TemporalUnet with attention in its blocks, told which times of a plan are given.

    model-<n>.pt       {"step", "model", "ema"}; plans use "ema", whose network is under "denoise_fn."

Trajectories hold observations alone, joints and cubes. It predicts noise, and x0 is clipped to 1, always. No file has
the statistics, which are limits of the observations.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Acting, Checkpoint, Weights
from ..core.normalizers import Affine, Normalizers
from ..core.schedule import Schedule
from ..core.spec import UNetSpec
from ..core.spelling import setting
from .plain_json import about
from .renamed import counted, predicting_zeros, shape_of, weights
from .state_dict import plain_keys
from .temporal_unet import BLOCKS, levels
from .torch_zip import Archive

_NETWORK = "denoise_fn."
_FIRST = "downs.{}.0.blocks.0.block.0.weight"
_RULES = (
    (r"\.attention\.", ".attn.fn.to_"),
    (r"^condition\.linear1\.", "cond_mlp.0."),
    (r"^condition\.linear2\.", "cond_mlp.2."),
    *BLOCKS,
    *levels(2),
)


def newest(folder: Path) -> Path | None:
    """The ``model-<n>.pt`` of a folder with the highest number."""
    found = [path for path in folder.glob("model-*.pt") if path.stem[len("model-") :].isdigit()]
    return max(found, key=lambda path: int(path.stem[len("model-") :]), default=None)


def is_state(content: object) -> bool:
    """Whether a record is one of its states."""
    ema = content.get("ema") if isinstance(content, Mapping) else None
    return isinstance(ema, Mapping) and any(isinstance(key, str) and key.startswith(_NETWORK) for key in ema)


def load(
    path: Path, *, horizon: int | None = None, find_value: bool = True, normalizers: Normalizers | None = None
) -> Checkpoint:  # fmt: skip
    """A folder, or its ``model-<n>.pt``. horizon: of a network that takes no condition; others say it themselves.
    normalizers: of the observations; what they have of actions is left out.

    Raises ValueError naming the file: keys or shapes that do not fit (its networks of images among them), a file that
    is damaged or cut short; FileNotFoundError.
    """
    file = newest(path) if path.is_dir() else path
    if file is None:
        raise FileNotFoundError(f"{path}: no model-<n>.pt in this folder")
    archive = Archive(file)
    ema = archive.content.get("ema") if isinstance(archive.content, Mapping) else None
    state = archive.state_dict(ema, "ema")
    with about(file):
        state = plain_keys(state)
        network = {key.removeprefix(_NETWORK): a for key, a in state.items() if key.startswith(_NETWORK)}
        return Checkpoint(
            unet=_weights(network, horizon),
            schedule=Schedule.from_buffers(state),
            action_dim=0,
            prediction="epsilon",
            clip_denoised=True,
            acting=Acting(masked=True),
            normalizers=normalizers and Normalizers(normalizers.observations, Affine.identity(0)),
            metadata={"format": "kuka", "file": file.name},
        )


def _weights(network: Mapping[str, NDArray], horizon: int | None) -> Weights:
    if "downs.0.0.block1.block.0.weight" in network:
        raise ValueError("a network of images (Unet), expected a TemporalUnet")
    dim = shape_of(network, "time_mlp.1.weight", 2)[1]
    first = shape_of(network, _FIRST.format(0), 3)
    condition, mlp = 0, ()
    if "cond_mlp.0.weight" in network:
        hidden, condition = shape_of(network, "cond_mlp.0.weight", 2)
        mlp = (hidden, shape_of(network, "cond_mlp.2.weight", 2)[0])
    if condition and horizon not in (None, condition):
        raise ValueError(f"horizon: found {horizon}, the network is told of {condition} times")
    if not condition and horizon is None:
        raise ValueError(f"nothing says its horizon; pass {setting('load.horizon', '...')}")
    spec = UNetSpec(
        horizon=condition or horizon, transition_dim=first[1], given=1, dim=dim, dim_mults=(), kernel_size=first[2],
        widths=tuple(shape_of(network, _FIRST.format(i), 3)[0] for i in range(counted(network, _FIRST))),
        condition=condition, condition_mlp=mlp, block_attention=any(".attn." in key for key in network),
    )  # fmt: skip
    network = predicting_zeros(network, "final_conv.1", 1)
    if condition:  # its blocks see [condition, embedding], others the embedding first
        network |= {
            key: np.roll(a, -mlp[-1], 1)
            for key, a in network.items()
            if key.endswith(".time_mlp.1.weight") and a.ndim == 2
        }
    return weights(spec, network, _RULES)
