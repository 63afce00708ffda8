"""The original's state dicts: which network the keys speak of, its spec, and its weights under our names.

The keys decide, never the branch or a configuration: maze2d networks of the first release have no attention slot, so
that the resampling convolution of a level is entry 2 of its list and not 3, and both kinds are in circulation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Weights
from ..core.lower import lower
from ..core.schedule import BUFFERS
from ..core.spec import UNetSpec, ValueSpec
from ..core.spelling import setting
from .renamed import some

State = Mapping[str, NDArray]
GROUPS = 8  # of every norm of the original's

# Buffers of GaussianDiffusion beside those that core/schedule.py keeps, and the loss's weights [H, D].
_DERIVED = {
    "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod",
    "loss_fn.weights",
}  # fmt: skip

# How the keys of relatives begin, which are read nowhere yet.
_OTHERS = {
    "inv_model.": "Decision Diffuser",
    "model.returns_mlp.": "Decision Diffuser",
}

_FIRST = "0.blocks.0.block.0.weight"  # of a level: [width, channels in, taps]

# Our names -> the original's keys: each rule in turn, SLOT being the entry of a level's resampling convolution.
_INSIDE = (
    (r"\.first\.conv\.", ".blocks.0.block.0."),
    (r"\.first\.norm\.", ".blocks.0.block.2."),
    (r"\.second\.conv\.", ".blocks.1.block.0."),
    (r"\.second\.norm\.", ".blocks.1.block.2."),
    (r"(block\d?)\.time\.", r"\1.time_mlp.1."),
    (r"\.skip\.", ".residual_conv."),
    (r"attention\.qkv\.", "attention.fn.fn.to_qkv."),
    (r"attention\.out\.", "attention.fn.fn.to_out."),
    (r"attention\.norm\.weight", "attention.fn.norm.g"),
    (r"attention\.norm\.bias", "attention.fn.norm.b"),
    (r"^time\.linear1\.", "time_mlp.1."),
    (r"^time\.linear2\.", "time_mlp.3."),
)
_UNET = (
    (r"^(down|up)(\d+)\.block(\d)", r"\1s.\2.\3"),
    (r"^(down|up)(\d+)\.attention", r"\1s.\2.2"),
    (r"^(down|up)(\d+)\.(down|up)sample", r"\1s.\2.SLOT.conv"),
    (r"^mid\.block0", "mid_block1"),
    (r"^mid\.block1", "mid_block2"),
    (r"^mid\.attention", "mid_attn"),
    (r"^head\.conv", "final_conv.0.block.0"),
    (r"^head\.norm", "final_conv.0.block.2"),
    (r"^head\.out", "final_conv.1"),
)
_VALUE = (
    (r"^down(\d+)\.block(\d)", r"blocks.\1.\2"),
    (r"^down(\d+)\.downsample", r"blocks.\1.2.conv"),
    (r"^mid0\.block", "mid_block1"),
    (r"^mid1\.block", "mid_block2"),
    (r"^mid0\.downsample", "mid_down1.conv"),
    (r"^mid1\.downsample", "mid_down2.conv"),
    (r"^head\.(linear1|time)", "final_block.0"),
    (r"^head\.linear2", "final_block.2"),
)


def is_value(state: State) -> bool:
    """Whether the keys are a value network's; ValueError if they are neither that nor a U-Net's."""
    unet, value = f"model.downs.0.{_FIRST}" in state, f"model.blocks.0.{_FIRST}" in state
    if unet == value:
        raise ValueError(
            f"its keys ({some(state)}) are not those of a TemporalUnet, a ValueFunction or a TemporalValue"
        )
    return value


def split(state: State) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """The network's tensors (without ``model.``) and the buffers; ValueError on keys the original does not write."""
    for start, owner in _OTHERS.items():
        if any(key.startswith(start) for key in state):
            raise ValueError(f"its keys ({start}*) are those of {owner}, which is not readable yet")
    network = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
    rest = {key: value for key, value in state.items() if not key.startswith("model.")}
    unknown = rest.keys() - set(BUFFERS) - _DERIVED
    if unknown:
        raise ValueError(f"it has keys that the original does not write: {some(unknown)}")
    return network, rest


def unet_weights(network: State, horizon: int, *, groups: int = GROUPS) -> Weights:
    """A TemporalUnet's weights, of either layout, at a horizon it was trained for. groups: of its norms."""
    sizes = _sizes(network, "downs")
    spec = UNetSpec(horizon=horizon, attention=any(".to_qkv." in key for key in network), groups=groups, **sizes)
    # Only the last level has no downsampling; a network of one level has none at all.
    slot = 3 if "downs.0.3.conv.weight" in network else 2
    return _weights(spec, network, slot)


def value_weights(network: State, horizon: int | None, guess: int | None, *, groups: int = GROUPS) -> Weights:
    """A ValueFunction's or TemporalValue's weights.

    horizon: what the configuration says. The head's width fits several horizons; without a configuration ``guess``
    (the U-Net's) is taken if it is one of them. ValueError if none is left, or if the width contradicts ``horizon``.
    groups: of its norms.
    """
    sizes = _sizes(network, "blocks")
    middle = "narrowing" if any(key.startswith("mid_") for key in network) else "none"
    halvings = len(sizes["dim_mults"]) + (2 if middle == "narrowing" else 0)
    channels = sizes["dim"] * sizes["dim_mults"][-1] // (4 if middle == "narrowing" else 1) or 1
    columns = _shape(network, "final_block.0.weight", 2)[1] - sizes["dim"]
    length, remainder = divmod(columns, channels)
    if remainder or length < 1:
        raise ValueError(f"its head takes {columns} numbers, expected a multiple of {channels} channels")
    # Every convolution of stride 2 leaves ceil(n / 2) of n steps: the head was fitted to ceil(horizon / 2^halvings).
    shortest, longest = ((length - 1) << halvings) + 1, length << halvings
    fits = f"the head's width fits {shortest} to {longest}"
    if horizon is None and guess is not None and shortest <= guess <= longest:
        horizon = guess
    elif horizon is None:
        cure = f"; pass {setting('load_value.horizon', '')}" if guess is None else f", and the U-Net's is {guess}"
        raise ValueError(f"its horizon is not known ({fits}); no model_config.pkl is beside it{cure}")
    if not shortest <= horizon <= longest:
        raise ValueError(f"its horizon is said to be {horizon}, but {fits}")
    return _weights(ValueSpec(horizon=horizon, middle=middle, groups=groups, **sizes), network, slot=2)


def _sizes(network: State, levels: str) -> dict[str, Any]:
    """What the shapes say of the spec's fields that U-Net and value network share."""
    dim = _shape(network, "time_mlp.1.weight", 2)[1]
    first = _shape(network, f"{levels}.0.{_FIRST}", 3)
    widths = []
    while (key := f"{levels}.{len(widths)}.{_FIRST}") in network:
        widths.append(_shape(network, key, 3)[0])
    if dim < 1 or any(width % dim for width in widths):
        raise ValueError(f"its levels are {widths} wide, expected multiples of the time embedding's {dim}")
    mults = tuple(width // dim for width in widths)
    return {"transition_dim": first[1], "dim": dim, "dim_mults": mults, "kernel_size": first[2]}


def _shape(network: State, key: str, ndim: int) -> tuple[int, ...]:
    if key not in network:
        raise ValueError(f"it lacks model.{key}")
    if network[key].ndim != ndim:
        raise ValueError(f"model.{key} has shape {list(network[key].shape)}, expected {ndim} axes")
    return network[key].shape


def _weights(spec: UNetSpec | ValueSpec, network: State, slot: int) -> Weights:
    """Rename, reshape and check: every key is used, every weight found."""
    wanted = lower(spec).weights
    sources = {name: _source(spec, name, slot) for name in wanted}
    missing, extra = set(sources.values()) - network.keys(), network.keys() - set(sources.values())
    if missing or extra:
        raise ValueError(f"{spec}: of its keys {some(missing)} are missing, {some(extra)} not expected")
    arrays = {name: _fitted(name, sources[name], network[sources[name]], wanted) for name in wanted}
    return Weights(spec, arrays)


def _source(spec: UNetSpec | ValueSpec, name: str, slot: int) -> str:
    """Our name of a weight -> the original's key, without ``model.``."""
    for pattern, replacement in _INSIDE + (_UNET if isinstance(spec, UNetSpec) else _VALUE):
        name = re.sub(pattern, replacement, name)
    return name.replace("SLOT", str(slot))


def _fitted(name: str, key: str, array: NDArray, wanted: Mapping[str, tuple[int, ...]]) -> NDArray[np.float32]:
    """An array of the shape our op wants. Dense layers gain an axis of one tap; attention's norms lose theirs."""
    shape = wanted[name]
    if key == "final_block.0.weight":
        # Dense over [channels x time, flattened in that order, then the embedding].
        columns = shape[1] * shape[2]
        array = array[:, -columns:] if name == "head.time.weight" else array[:, :columns]
        if array.size == np.prod(shape):
            array = array.reshape(shape)
    if [n for n in array.shape if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(f"model.{key} has shape {list(array.shape)}, which does not fit {name} {list(shape)}")
    return np.array(array.reshape(shape), np.float32)
