"""The original's state dicts: which network the keys speak of, its spec, and its weights under our names.

The keys decide, never the branch or a configuration: maze2d networks of the first release have no attention slot, so
that the resampling convolution of a level is entry 2 of its list and not 3, and both kinds are in circulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ..core.checkpoint import Weights
from ..core.schedule import BUFFERS
from ..core.spec import UNetSpec, ValueSpec
from ..core.spelling import setting
from .renamed import counted, shape_of, some, weights
from .temporal_unet import BLOCKS, levels

State = Mapping[str, NDArray]
GROUPS = 8  # of every norm of the original's

# Buffers of GaussianDiffusion beside those that core/schedule.py keeps, and the loss's weights [H, D].
_DERIVED = {
    "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod",
    "loss_fn.weights",
}  # fmt: skip

_FIRST = "0.blocks.0.block.0.weight"  # of a level: [width, channels in, taps]

# Our names -> the original's keys: each rule in turn.
_ATTENTION = (
    (r"attention\.qkv\.", "attention.fn.fn.to_qkv."),
    (r"attention\.out\.", "attention.fn.fn.to_out."),
    (r"attention\.norm\.weight", "attention.fn.norm.g"),
    (r"attention\.norm\.bias", "attention.fn.norm.b"),
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
    return weights(spec, network, (*BLOCKS, *_ATTENTION, *levels(slot)))


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
    columns = shape_of(network, "final_block.0.weight", 2)[1] - sizes["dim"]
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
    return weights(ValueSpec(horizon=horizon, middle=middle, groups=groups, **sizes), network, (*BLOCKS, *_VALUE))


def _sizes(network: State, levels: str) -> dict[str, Any]:
    """What the shapes say of the spec's fields that U-Net and value network share."""
    dim = shape_of(network, "time_mlp.1.weight", 2)[1]
    first = shape_of(network, f"{levels}.0.{_FIRST}", 3)
    block = f"{levels}.{{}}.{_FIRST}"
    widths = [shape_of(network, block.format(i), 3)[0] for i in range(counted(network, block))]
    if dim < 1 or any(width % dim for width in widths):
        raise ValueError(f"its levels are {widths} wide, expected multiples of the time embedding's {dim}")
    mults = tuple(width // dim for width in widths)
    return {"transition_dim": first[1], "dim": dim, "dim_mults": mults, "kernel_size": first[2]}
