"""What a checkpoint is, in plain values and in sentences: for ``info``, and for whoever decides whether to trust it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..core.checkpoint import Acting, Checkpoint, Weights
from ..core.guidance import Guide
from ..core.lower import lower
from ..core.normalizers import kind_of
from ..core.ops import op_flops
from ..core.samplers import Sampling
from ..core.spec import UNetSpec, ValueSpec, spec_to_json
from ..formats import FORMATS

FACTORS = {
    "exp_half_std": "exp(half its standard deviation)", "exp_half_variance": "exp(half its variance)",
    "noise_over_signal": "noise^2 / signal",
}  # fmt: skip


def describe(ckpt: Checkpoint) -> dict[str, Any]:
    """A checkpoint as plain values."""
    parts = {"unet": ckpt.unet, "value": ckpt.value, "inverse": ckpt.inverse}
    networks = {name: _network(weights) for name, weights in parts.items() if weights is not None}
    abar = ckpt.schedule.alphas_cumprod
    normalizers = ckpt.normalizers
    return {
        "recognised": FORMATS.get(str(ckpt.metadata.get("format")), FORMATS["native"]),
        **networks,
        "actions": ckpt.executed_dim,
        "observations": ckpt.observation_dim,
        "diffusion_steps": ckpt.schedule.n_steps,
        "schedule": {"first_abar": round(float(abar[0]), 6), "last_abar": round(float(abar[-1]), 6)},
        "prediction": ckpt.prediction,
        "clip_denoised": ckpt.clip_denoised,
        "clip_range": ckpt.clip_range,
        "sampling": asdict(ckpt.sampling),
        "condition_weight": ckpt.condition_weight,
        "acting": asdict(ckpt.acting),
        "guide": asdict(ckpt.guide) if ckpt.value is not None else None,
        "normalizer": type(normalizers.observations).__name__ if normalizers else None,
        "normalizers": normalizers and {
            "observations": kind_of(normalizers.observations), "actions": kind_of(normalizers.actions),
        },
        "deviations": list(deviations(ckpt)),
        "missing": list(missing(ckpt)),
        "metadata": dict(ckpt.metadata),
    }  # fmt: skip


def layers(weights: Weights) -> list[dict[str, Any]]:
    """Of a network, in order: name, shape of its result (channels x time), parameters, floating-point operations.

    A layer is an op with weights, and what follows it without any.
    """
    found: list[dict[str, Any]] = []
    for program in lower(weights.spec).programs:
        for op in program.ops:
            channels, length = program.shapes[op.outs[0]]
            flop = op_flops(op, program.shapes)
            if op.weights or not found:
                name = op.weights[0].rpartition(".")[0] if op.weights else op.kind
                count = sum(weights.arrays[weight].size for weight in op.weights)
                found.append(
                    {"layer": name, "op": op.kind, "shape": f"{channels}x{length}", "parameters": count, "flop": flop}
                )
            else:
                found[-1]["flop"] += flop
    return found


def deviations(ckpt: Checkpoint) -> Iterator[str]:
    """In what it differs from the original Diffuser, a sentence each."""
    spec, usual, s = ckpt.unet.spec, UNetSpec(8, 1), ckpt.sampling
    if spec.film:
        yield "the embedding scales and shifts (FiLM), where the original's shifts"
    if spec.local:
        yield f"the network is conditioned on {spec.given} numbers at each time: the last observations, then zeros"
    if ckpt.acting.masked:
        also = " and by its condition" if spec.condition else ""
        yield f"the network is told which times of a plan are given, by the last number of a transition{also}"
    elif spec.condition:
        what = (
            f"the last {ckpt.acting.history} observations"
            if ckpt.observes_condition
            else "numbers that a plan is given"
        )
        yield f"the network is conditioned on {spec.condition} numbers: {what}"
    if ckpt.condition_weight != 1:
        yield f"classifier-free guidance: the denoiser runs twice, weights {ckpt.gains[0]:g} and {ckpt.gains[1]:g}"
    for name, what in (("unet", ckpt.unet), ("value", ckpt.value)):
        differing = [] if what is None or what.spec.embedding is None else list(_embedding(what.spec))
        if differing:
            yield f"the {name}'s time embedding: {', '.join(differing)}"
    if spec.group_size != 1 or spec.head_groups not in (None, spec.groups) or spec.groups != usual.groups:
        yield "its norms have other groups than eight"
    if spec.block_attention:
        yield "every residual block has linear attention, without a norm"
    if spec.attention and spec.attention_adds != "x":
        yield "attention is added to its normalised input"
    if ckpt.clip_denoised and ckpt.clip_range != 1:
        yield f"x0 is clipped to {ckpt.clip_range:g}, not to 1"
    yield from _sampling(s)
    if ckpt.value is not None:
        if not ckpt.value.spec.halve_last:
            yield "the value network's last level keeps its length"
        yield from _guide(ckpt.guide)
    yield from _acting(ckpt.acting)
    if ckpt.inverse is not None:
        yield "trajectories hold observations alone; inverse dynamics find the actions between them"


def missing(ckpt: Checkpoint) -> Iterator[str]:
    """What planning lacks, and the command that supplies it."""
    if ckpt.normalizers is None:
        kind = {"diffusers": "scalar", "decision_diffuser": "cdf", "kuka": "limits"}
        extra = kind.get(str(ckpt.metadata.get("format")), "")
        extra = f" --normalizer {extra}" if extra else ""
        yield f"statistics: diffuser-fast stats DATASET{extra} -o stats.json, then --normalizer stats.json"
    if ckpt.value is None and not (ckpt.unet.spec.condition or ckpt.unet.spec.given):
        yield "a value network: plans are unguided; --value PATH adds one"
    if ckpt.metadata.get("images"):
        count = ckpt.metadata["images"]
        yield f"encoders of images: {count} numbers of an observation, behind the state, are their features"


def _network(weights: Weights) -> dict[str, Any]:
    net = lower(weights.spec).net
    return {
        **spec_to_json(weights.spec),
        "parameters": int(sum(a.size for a in weights.arrays.values())),
        "gflop_per_step": round(net.flops / 1e9, 4),
    }


def _embedding(spec: UNetSpec | ValueSpec) -> Iterator[str]:
    e = spec.time
    if e.cosines_first:
        yield "cosines first"
    if e.shift != 1:
        yield "frequencies without the endpoint"
    if e.whole:
        yield "frequencies cut to whole numbers (1, 0, 0, ...)"
    if e.width != spec.dim:
        yield f"{e.width} wide"
    if e.act != "mish":
        yield e.act


def _sampling(s: Sampling) -> Iterator[str]:
    if s.sampler != "ddpm" or s.eta or s.n_steps is not None:
        yield f"sampler {s.sampler}, {'all' if s.n_steps is None else s.n_steps} denoising steps, eta {s.eta:g}"
    if s.grid != "linspace" and (s.n_steps is not None or s.grid == "truncated"):
        yield f'its steps are on the "{s.grid}" grid'
    if s.direction != "clipped":
        yield "the noise in x follows from the unclipped x0"
    if s.noise != 1 or s.first_noise != 1:
        yield f"noise is multiplied by {s.noise:g}, the first by {s.first_noise:g}"
    if s.final:
        yield "plans are ranked by their value at the end, t = 0"


def _guide(guide: Guide) -> Iterator[str]:
    if guide.on == "x0":
        yield "the guide's gradient is added to x0, behind the network"
    if guide.factor is not None:
        yield f"the gradient is multiplied by {FACTORS[guide.factor]}, not by the posterior's variance"


def _acting(acting: Acting) -> Iterator[str]:
    if acting.observed == "before":
        yield "observations stand before actions in a transition"
    if acting.steps > 1 or acting.first:
        yield f"actions {acting.first} to {acting.first + acting.steps - 1} of a plan are executed before the next"
