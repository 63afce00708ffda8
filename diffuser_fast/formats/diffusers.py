"""Hugging Face diffusers: a UNet1DModel, its value function and scheduler, as ValueGuidedRLPipeline saves them.

    model_index.json                                 names the parts
    unet/{config.json, diffusion_pytorch_model.*}    the denoiser; .safetensors, or .bin where it is older
    value_function/ (likewise)                       the guide; without it plans are unguided
    scheduler/scheduler_config.json                  the schedule, the prediction's type, clipping

No file says the horizon, which is the caller's (the pipeline's default is 32), nor the size of an action, nor the
statistics: the pipeline takes them from its environment's data set. ``normalizer`` has both: one mean and one standard
deviation for all numbers of an observation, one for those of an action.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from numpy.typing import NDArray

from ..core.checkpoint import Checkpoint, Weights
from ..core.embedding import Embedding
from ..core.guidance import Guide
from ..core.normalizers import Normalizers
from ..core.spec import UNetSpec, ValueSpec
from ..core.spelling import setting
from .ddpm_scheduler import Scheduler, scheduler
from .plain_json import Settings, about, read_json
from .renamed import counted, shape_of, weights
from .tensors import read_tensors

HORIZON = 32  # of a plan, unless the caller says otherwise
_ACTS = {"swish": "silu"}  # two names of one
GROUPS = 8  # of the blocks' norms, whatever the configuration says of the others
_INSIDE = (
    (r"\.first\.conv\.", ".conv_in.conv1d."),
    (r"\.first\.norm\.", ".conv_in.group_norm."),
    (r"\.second\.conv\.", ".conv_out.conv1d."),
    (r"\.second\.norm\.", ".conv_out.group_norm."),
    (r"(block\d?)\.time\.", r"\1.time_emb."),
    (r"\.skip\.", ".residual_conv."),
    (r"^time\.linear(\d)", r"time_mlp.linear_\1"),
    (r"^(down|up)(\d+)\.block(\d)", r"\1_blocks.\2.resnets.\3"),
    (r"^(down|up)(\d+)\.(down|up)sample", r"\1_blocks.\2.\3sample.conv"),
)
_UNET = (
    *_INSIDE,
    (r"^mid\.block(\d)", r"mid_block.resnets.\1"),
    (r"^head\.conv", "out_block.final_conv1d_1"),
    (r"^head\.norm", "out_block.final_conv1d_gn"),
    (r"^head\.out", "out_block.final_conv1d_2"),
)
_VALUE = (
    *_INSIDE,
    (r"^mid0\.block", "mid_block.res1"),
    (r"^mid1\.block", "mid_block.res2"),
    (r"^mid0\.downsample", "mid_block.down1.conv"),
    (r"^mid1\.downsample", "mid_block.down2.conv"),
    (r"^head\.(linear1|time)", "out_block.final_block.0"),
    (r"^head\.linear2", "out_block.final_block.2"),
)


def is_folder(path: Path) -> bool:
    """Whether a folder is a pipeline's: it has a U-Net's folder, with a configuration."""
    return (path / "unet" / "config.json").is_file()


def load(
    path: Path, *, horizon: int | None = None, action_dim: int | None = None, find_value: bool = True,
    normalizers: Normalizers | None = None,
) -> Checkpoint:  # fmt: skip
    """A pipeline's folder. horizon: of a plan (default 32). action_dim: A, unless the statistics say it.

    Raises ValueError naming the file: another class of model or scheduler, options that the pipeline's converted
    checkpoints do not use, keys or shapes that do not fit, a file that is cut short; FileNotFoundError.
    """
    file = path / "scheduler" / "scheduler_config.json"
    config = read_json(file)
    with about(file):
        config.only("_class_name", None, "DDPMScheduler")
        schedule = scheduler(config, "DDPM", None)
    find_value = find_value and (path / "value_function" / "config.json").is_file()
    horizon = (_longest(path) if find_value else HORIZON) if horizon is None else horizon
    unet = _network(path / "unet", horizon, value=False)
    value = _network(path / "value_function", horizon, value=True) if find_value else None
    if action_dim is None and normalizers is not None:
        action_dim = normalizers.actions.dim
    if action_dim is None:
        given = setting("load.action_dim", "...")
        cure = setting("normalizer", "'stats.json'", "stats.json")
        raise ValueError(
            f"{path}: no file of a pipeline says how many of a transition's {unet.spec.transition_dim} numbers are "
            f"actions, and none has statistics; pass {cure} (diffuser-fast stats makes it), or {given}"
        )
    with about(path):
        return Checkpoint(
            unet=unet,
            value=value,
            action_dim=action_dim,
            guide=guide_of(schedule),
            **schedule.fields,
            normalizers=normalizers,
            metadata={"format": "diffusers", "folder": path.name},
        )


def _longest(path: Path) -> int:
    """The usual horizon, or the longest that the value function can judge, if that is shorter."""
    file = path / "value_function" / "config.json"
    config = read_json(file)
    with about(file):
        return min(HORIZON, 1 << (len(config.wholes("block_out_channels", 12)) + 2))


def _network(folder: Path, horizon: int, *, value: bool) -> Weights:
    file = folder / "config.json"
    config = read_json(file)
    with about(file):
        config.only("_class_name", None, "UNet1DModel")
        said = _said(config, value=value)
    file = _weights_file(folder)
    tensors = read_tensors(file)
    with about(file):
        return _read(tensors, horizon, said, value=value)


def network(config: Settings, tensors: Mapping[str, NDArray], horizon: int, *, value: bool) -> Weights:
    """One of a pipeline's networks, out of its configuration and its state dict; ValueError says what does not fit."""
    return _read(tensors, horizon, _said(config, value=value), value=value)


def guide_of(schedule: Scheduler, scale: float = 0.1, n_steps: int = 2) -> Guide:
    """How a pipeline guides: it multiplies by exp(0.5 scheduler._get_variance(t)), neither of whose powers is meant."""
    factor = "exp_half_std" if schedule.logarithmic else "exp_half_variance"
    return Guide(scale=scale, n_steps=n_steps, t_stopgrad=2, factor=factor)


_Said = tuple[tuple[int, ...], Embedding, dict]


def _said(config: Settings, *, value: bool) -> _Said:
    """Widths of the levels, embedding, and the head's facts, of a configuration that can be planned with."""
    config.only("time_embedding_type", "fourier", "positional")
    config.only("use_timestep_embedding", False, True)
    config.only("layers_per_block", 1, 1)
    config.only("mid_block_type", None, "ValueFunctionMidBlock1D" if value else "MidResTemporalBlock1D")
    config.only("out_block_type", None, "ValueFunction" if value else "OutConv1DBlock")
    widths = config.wholes("block_out_channels", 12)
    _blocks(config, "down_block_types", "DownResnetBlock1D", len(widths))
    if not value:
        _blocks(config, "up_block_types", "UpResnetBlock1D", len(widths) - 1)
    act = config.text("act_fn", "silu")
    embedding = Embedding(
        widths[0], 4 * widths[0], widths[0], cosines_first=config.flag("flip_sin_to_cos", True),
        shift=config.whole("freq_shift", 0, 0, 1), act=_ACTS.get(act, act),
    )  # fmt: skip
    return widths, embedding, {"head_act": embedding.act, "head_groups": config.whole("norm_num_groups", 8, 1)}


def _read(tensors: Mapping[str, NDArray], horizon: int, said: _Said, *, value: bool) -> Weights:
    widths, embedding, head = said
    spec = _spec(tensors, horizon, widths, embedding, None if value else head)
    return weights(spec, tensors, _VALUE if value else _UNET)


def _spec(
    tensors: Mapping[str, NDArray], horizon: int, widths: tuple[int, ...], embedding: Embedding, head: dict | None
) -> UNetSpec | ValueSpec:
    first = shape_of(tensors, "down_blocks.0.resnets.0.conv_in.conv1d.weight", 3)
    levels = counted(tensors, "down_blocks.{}.resnets.0.conv_in.conv1d.weight")
    if levels != len(widths):
        raise ValueError(f"it has {levels} levels, its configuration {len(widths)}")
    common = {
        "horizon": horizon, "transition_dim": first[1], "dim": widths[0], "dim_mults": (), "widths": widths,
        "kernel_size": first[2], "groups": GROUPS, "embedding": embedding,
    }  # fmt: skip
    if head is not None:
        return UNetSpec(**common, head_kernel=shape_of(tensors, "out_block.final_conv1d_1.weight", 3)[2], **head)
    hidden = shape_of(tensors, "out_block.final_block.0.weight", 2)[0]
    longest = 1 << (levels + 2)  # the head takes one time step, whatever is left of so many
    if horizon > longest:
        raise ValueError(f"horizon: found {horizon}, its value function takes at most {longest}")
    return ValueSpec(**common, hidden=hidden, any_horizon=True)


def _blocks(config: Settings, key: str, expected: str, count: int) -> None:
    found = config.get(key)
    if not isinstance(found, (list, tuple)) or list(found) != [expected] * count:
        raise ValueError(f"{key}: expected {expected} for each of {count}")


def _weights_file(folder: Path) -> Path:
    for name in ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder}: no diffusion_pytorch_model.safetensors or .bin in this folder")
