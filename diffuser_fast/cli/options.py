"""Options that several commands share: which planner, and how it is made ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option("--value", help="A value checkpoint beside CHECKPOINT."),
    click.option("--normalizer", help="A JSON sidecar of statistics."),
    click.option("--backend", default="auto", show_default=True, help="auto, cpu, reference, ..."),
    click.option("--batch-size", type=int, help="Candidate plans. Default: 64 guided, else 1."),
    click.option("--horizon", type=int, help="Steps of a plan. Default: the trained ones."),
    click.option("--sampler", default="ddpm", show_default=True, help="ddpm, ddim, dpm_solver_pp_2m."),
    click.option("--n-steps", type=int, help="Denoising steps. Default: all."),
    click.option("--precision", default="float32", show_default=True),
    click.option("--threads", type=int, help="CPU threads. Default: the cores there are."),
    click.option("--seed", type=int, default=0, show_default=True),
)


def planner_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that ``make_planner`` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_planner(checkpoint: str, value: str | None, normalizer: str | None, **options: Any) -> Any:
    """Load and make ready."""
    from ..formats import load
    from ..planner import Planner

    return Planner(load(checkpoint, value=value, normalizer=normalizer), **options)
