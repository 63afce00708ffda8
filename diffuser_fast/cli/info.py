"""``diffuser-fast info``: what a checkpoint holds, and what could run it here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from . import show
from .options import load_checkpoint, load_options


@click.command()
@click.argument("checkpoint")
@load_options
@show.json_option
def command(checkpoint: str, as_json: bool, **options: Any) -> None:
    """Describe CHECKPOINT: a native file, a folder of the original's, or a bundled name."""
    record = describe(load_checkpoint(checkpoint, options))
    if as_json:
        show.emit(record)
    else:
        show.table(checkpoint, ["", ""], [[name, _words(item)] for name, item in record.items()])


def describe(ckpt: Any) -> dict[str, Any]:
    """A checkpoint as plain values."""
    from ..core.lower import lower
    from ..core.spec import spec_to_json

    networks = {}
    for name, weights in (("unet", ckpt.unet), ("value", ckpt.value)):
        if weights is not None:
            net = lower(weights.spec).net
            networks[name] = {
                **spec_to_json(weights.spec),
                "parameters": int(sum(a.size for a in weights.arrays.values())),
                "gflop_per_step": round(net.flops / 1e9, 4),
            }
    return {
        **networks,
        "actions": ckpt.action_dim,
        "observations": ckpt.observation_dim,
        "diffusion_steps": ckpt.schedule.n_steps,
        "prediction": ckpt.prediction,
        "clip_denoised": ckpt.clip_denoised,
        "guide": asdict(ckpt.guide) if ckpt.value is not None else None,
        "normalizer": type(ckpt.normalizers.observations).__name__ if ckpt.normalizers else None,
        "metadata": dict(ckpt.metadata),
    }


def _words(item: Any) -> str:
    if isinstance(item, dict):
        return "\n".join(f"{name}: {value}" for name, value in item.items())
    return "none" if item is None else str(item)
