"""CleanDiffuser: a JannerUNet1d and the HalfJannerUNet1d that guides it, as the library's ``save`` writes them.

    diffusion_ckpt_<step or latest>.pt      {"model", "model_ema"}; plans use the latter, its keys under "diffusion."
    classifier_ckpt_<step or latest>.pt     likewise, bare keys; without it plans are unguided
    facts.json                              what no file of the library's says, under its own names (see below)

Nothing of the process is in these files. What is not given as an argument is looked for in facts.json, which may hold
{"horizon", "action_dim", "sde": {"class_", "diffusion_steps", "predict_noise", "x_max", "epsilon"}, "sample":
{"solver", "sample_steps", "w_cg", "temperature"}}: arguments of the library's classes and of its ``sample``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checkpoint import Acting, Checkpoint, Weights
from ..core.embedding import Embedding
from ..core.guidance import Guide
from ..core.normalizers import Affine, Normalizers
from ..core.samplers import Sampling
from ..core.scalars import shown
from ..core.schedule import Schedule
from ..core.spec import UNetSpec, ValueSpec
from ..core.spelling import setting
from .plain_json import Settings, about, fact, read_json
from .renamed import counted, shape_of, some, weights
from .state_dict import plain_keys
from .torch_zip import Archive

FACTS = "facts.json"
_LAST, _SHIFT = 0.9946, 0.008  # of its cosine schedule: time beyond the first counts as it
_FLOOR = 1e-8  # what its ancestral step adds under the root
_FIRST = "downs.{}.0.conv1.0.weight"
_SOLVERS = {
    "ddpm": {"sampler": "ddim", "eta": 1.0, "floor": _FLOOR},
    **{name: {"sampler": "ddim"} for name in ("ddim", "ode_dpmsolver_1", "ode_dpmsolver++_1")},  # all the same
    "ode_dpmsolver++_2M": {"sampler": "dpm_solver_pp_2m"},
}
_INSIDE = (
    (r"\.first\.conv\.", ".conv1.0."),
    (r"\.first\.norm\.", ".conv1.1."),
    (r"\.second\.conv\.", ".conv2.0."),
    (r"\.second\.norm\.", ".conv2.1."),
    (r"(block\d?)\.time\.", r"\1.emb_mlp.1."),
    (r"\.skip\.", ".residual_conv."),
    (r"attention\.qkv\.", "attention.to_qkv."),
    (r"attention\.out\.", "attention.to_out."),
    (r"attention\.norm\.weight", "attention.norm.g"),
    (r"attention\.norm\.bias", "attention.norm.b"),
    (r"^time\.linear1\.", "map_emb.0."),
    (r"^time\.linear2\.", "map_emb.2."),
    (r"^(down|up)(\d+)\.block(\d)", r"\1s.\2.\3"),
)
_UNET = (
    *_INSIDE,
    (r"^(down|up)(\d+)\.attention", r"\1s.\2.2"),
    (r"^(down|up)(\d+)\.(down|up)sample", r"\1s.\2.3.conv"),
    (r"^mid\.block0", "mid_block1"),
    (r"^mid\.block1", "mid_block2"),
    (r"^mid\.attention", "mid_attn"),
    (r"^head\.conv", "final_conv.0"),
    (r"^head\.norm", "final_conv.1"),
    (r"^head\.out", "final_conv.3"),
)
_VALUE = (
    *_INSIDE,
    (r"^down(\d+)\.downsample", r"downs.\1.2.conv"),
    (r"^mid0\.block", "mid_block1.0"),
    (r"^mid1\.block", "mid_block2.0"),
    (r"^mid0\.downsample", "mid_block1.1.conv"),
    (r"^mid1\.downsample", "mid_block2.1.conv"),
    (r"^head\.(linear1|time)", "final_block.0"),
    (r"^head\.linear2", "final_block.2"),
)


def load(
    path: Path, *, horizon: int | None = None, action_dim: int | None = None, prediction: str | None = None,
    diffusion_steps: int | None = None, n_steps: int | None = None, solver: str | None = None,
    scale: float | None = None, temperature: float | None = None, clip_range: float | None = None,
    continuous: bool | None = None, find_value: bool = True, normalizers: Normalizers | None = None,
) -> Checkpoint:  # fmt: skip
    """A folder, or its ``diffusion_ckpt_*.pt``.

    horizon: H. action_dim: A, unless the statistics say it. prediction: "epsilon" where ``predict_noise`` was set.
    diffusion_steps: T. n_steps: ``sample_steps``, default T. solver: "ddpm", "ddim" or "ode_dpmsolver++_2M". scale:
    ``w_cg``. temperature: of the first noise. clip_range: ``x_max``, None for no clipping. continuous: the process was
    a ContinuousDiffusionSDE. Arguments are preferred to facts.json, which is preferred to the library's defaults.
    normalizers: of the observations; actions are not normalised, and executed ones are clipped to 1.
    Raises ValueError naming the file and what is missing; FileNotFoundError.
    """
    file = _newest(path, "diffusion") if path.is_dir() else path
    folder = file.parent
    facts = read_json(folder / FACTS) if (folder / FACTS).is_file() else Settings({})
    with about(folder / FACTS):
        sde, sample = facts.part("sde"), facts.part("sample")
        sde.only("noise_schedule", "cosine", "cosine")
        sample.only("w_cfg", 0.0, 0, 0.0)
        for network in ("nn_diffusion", "nn_classifier"):
            facts.part(network).only("timestep_emb_type", "positional", "positional")
            facts.part(network).only("norm_type", "groupnorm", "groupnorm")
        given = {
            "horizon": _either(horizon, facts.get("horizon")),
            "action_dim": _either(action_dim, normalizers and normalizers.actions.dim, facts.get("action_dim")),
            "diffusion_steps": _either(diffusion_steps, sde.get("diffusion_steps")),
            "prediction": _either(prediction, _prediction(sde)),
        }
        solver = _either(solver, sample.text("solver", "ddpm"))
        scale = _either(scale, sample.get("w_cg"))
        temperature = _either(temperature, sample.real("temperature", 1.0))
        clip_range = _either(clip_range, sde.real("x_max", 0.0) or None)
        n_steps = _either(n_steps, sample.get("sample_steps"))
        if sde.get("x_min") is not None and sde.real("x_min", low=-1e9) != -sde.real("x_max", 0.0):
            raise ValueError("sde.x_min: expected the negative of x_max")
        first = sde.real("epsilon", 1e-3, 1e-9, 0.1)
        class_ = sde.text("class_", "DiscreteDiffusionSDE")
        sde.only("class_", class_, "DiscreteDiffusionSDE", "ContinuousDiffusionSDE")
        continuous = _either(continuous, class_ == "ContinuousDiffusionSDE")
    if continuous:  # its grid has as many times as it is sampled in, and no training steps
        given["diffusion_steps"] = _either(n_steps, given["diffusion_steps"])
    missing = [_given(name) for name, value in given.items() if value is None]
    if missing:
        raise ValueError(
            f"{file}: weights of CleanDiffuser, which stores nothing of the process beside; pass {', '.join(missing)}"
        )
    tensors = _tensors(file, "diffusion.")
    with about(file):
        unet = unet_weights(tensors, given["horizon"], whole=not continuous)
    classifier = _newest(folder, "classifier") if find_value and any(folder.glob("classifier_ckpt_*.pt")) else None
    value = None
    if classifier is not None:
        tensors = _tensors(classifier, "")
        with about(classifier):
            value = classifier_weights(tensors, given["horizon"], whole=not continuous)
            if scale is None:
                raise ValueError(f"a classifier; pass {fact('scale')}, its w_cg")
    with about(file):
        schedule = _schedule(given["diffusion_steps"], first, continuous)
        return checkpoint_of(
            unet, value, schedule, action_dim=given["action_dim"], prediction=given["prediction"], solver=solver,
            n_steps=schedule.n_steps - 1 if continuous else n_steps, scale=scale or 0.0, temperature=temperature,
            clip_range=clip_range, normalizers=_normalizers(normalizers, given["action_dim"]),
            metadata={"format": "cleandiffuser", "file": file.name},
        )  # fmt: skip


def checkpoint_of(
    unet: Weights, value: Weights | None, schedule: Schedule, *, action_dim: int, prediction: str, solver: str,
    n_steps: int | None, scale: float, temperature: float, clip_range: float | None, normalizers: Normalizers | None,
    metadata: Mapping[str, Any],
) -> Checkpoint:  # fmt: skip
    """Networks, a schedule and the arguments of ``sample`` -> Checkpoint; ValueError on what cannot be sampled."""
    if solver not in _SOLVERS:
        raise ValueError(f"solver: found {shown(solver)}, expected one of {', '.join(_SOLVERS)}")
    return Checkpoint(
        unet=unet,
        value=value,
        schedule=schedule,
        action_dim=action_dim,
        prediction=prediction,
        clip_denoised=clip_range is not None,
        clip_range=1.0 if clip_range is None else clip_range,
        guide=Guide(scale, n_steps=1, t_stopgrad=0, factor="noise_over_signal", on="x0"),
        sampling=Sampling(
            n_steps=n_steps, grid="truncated", first_noise=temperature,
            final=value is not None or clip_range is not None, **_SOLVERS[solver],
        ),
        acting=Acting(observed="before"),
        normalizers=normalizers,
        metadata=metadata,
    )  # fmt: skip


def _given(name: str) -> str:
    return fact(name) if name == "diffusion_steps" else setting(f"load.{name}", "...")


def _either(*values: Any) -> Any:
    """The first that is given."""
    return next((value for value in values if value is not None), None)


def _prediction(sde: Settings) -> str | None:
    if sde.get("predict_noise") is None:
        return None
    return "epsilon" if sde.flag("predict_noise") else "x0"


def _newest(folder: Path, kind: str) -> Path:
    """``<kind>_ckpt_latest.pt``, or the one of the highest step."""
    found = sorted(folder.glob(f"{kind}_ckpt_*.pt"), key=lambda p: (p.stem.endswith("_latest"), len(p.name), p.name))
    if not found:
        raise FileNotFoundError(f"{folder}: no {kind}_ckpt_<step>.pt in this folder")
    return found[-1]


def _schedule(n: int, first: float, continuous: bool) -> Schedule:
    """sqrt(abar) = cos(pi / 2 (t + s) / (1 + s)) / cos(pi / 2 s / (1 + s)), in float32 as the library computes it.

    n: T, or the denoising steps of a continuous process, which is given one time more.
    """
    last = _LAST if continuous else 1.0
    t = np.linspace(first, last, n + 1 if continuous else n, dtype=np.float32)
    start = np.cos(np.pi / 2 * _SHIFT / (1 + _SHIFT))
    angle = np.float32(np.pi / 2) * (np.minimum(t, np.float32(_LAST)) + np.float32(_SHIFT)) / np.float32(1 + _SHIFT)
    alpha = np.cos(angle) / np.float32(start)
    return Schedule.from_alphas_cumprod(alpha.astype(np.float64) ** 2, t if continuous else None)


def _normalizers(given: Normalizers | None, action_dim: int) -> Normalizers | None:
    return None if given is None else Normalizers(given.observations, Affine.identity(action_dim, limit=1.0))


def _tensors(file: Path, prefix: str) -> dict[str, NDArray]:
    archive = Archive(file)
    ema = archive.content.get("model_ema") if isinstance(archive.content, Mapping) else None
    state = archive.state_dict(ema, "model_ema")
    with about(file):
        state = plain_keys(state)
        others = [key for key in state if not key.startswith(prefix)]
        if others:
            raise ValueError(f"it has {some(others)} beside {prefix}*, of a network for conditions, which is not read")
    return {key.removeprefix(prefix): array for key, array in state.items()}


def unet_weights(tensors: Mapping[str, NDArray], horizon: int, *, whole: bool) -> Weights:
    """A JannerUNet1d. whole: the steps that it is told of are whole numbers, and so are its frequencies."""
    common = _common(tensors, horizon, whole)
    spec = UNetSpec(
        **common, head_kernel=shape_of(tensors, "final_conv.0.weight", 3)[2],
        attention=any(".to_qkv." in key for key in tensors), attention_adds="norm",
    )  # fmt: skip
    return weights(spec, tensors, _UNET)


def classifier_weights(tensors: Mapping[str, NDArray], horizon: int, *, whole: bool) -> Weights:
    """A HalfJannerUNet1d of one output."""
    spec = ValueSpec(
        **_common(tensors, horizon, whole), halve_last=False,
        middle_kernel=shape_of(tensors, "mid_block1.0.conv1.0.weight", 3)[2],
        hidden=shape_of(tensors, "final_block.0.weight", 2)[0],
    )  # fmt: skip
    return weights(spec, tensors, _VALUE)


def _common(tensors: Mapping[str, NDArray], horizon: int, whole: bool) -> dict[str, Any]:
    if told := [key for key in tensors if key.startswith("map_noise.")]:
        raise ValueError(f"its time embedding has {some(told)}, expected the positional one (timestep_emb_type)")
    if _FIRST.format(0) in tensors and "downs.0.0.conv1.1.weight" not in tensors:
        kind = "layer norms" if "downs.0.0.conv1.1.g" in tensors else "none"
        raise ValueError(f"its norms are {kind}, expected group norms (norm_type)")
    hidden, width = shape_of(tensors, "map_emb.0.weight", 2)
    out = shape_of(tensors, "map_emb.2.weight", 2)[0]
    levels = counted(tensors, _FIRST)
    first = shape_of(tensors, _FIRST.format(0), 3)
    return {
        "horizon": horizon, "transition_dim": first[1], "dim": out, "dim_mults": (), "kernel_size": first[2],
        "widths": tuple(shape_of(tensors, _FIRST.format(i), 3)[0] for i in range(levels)), "group_size": 4,
        "embedding": Embedding(width, hidden, out, cosines_first=True, shift=0, whole=whole),
    }  # fmt: skip
