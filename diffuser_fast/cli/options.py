"""Options that several commands share: which planner, and how it is made ready."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import click

_GUIDE_OPTIONS = (
    click.option("--scale", type=float, help="Of the guide's gradient. Default: the checkpoint's."),
    click.option("--guide-steps", type=click.IntRange(min=1), help="Gradient steps of a denoising step."),
    click.option("--t-stopgrad", type=click.IntRange(min=0), help="Denoising steps t below it are not guided."),
)
_OPTIONS = (
    click.option("--value", help="A value checkpoint beside CHECKPOINT."),
    click.option("--normalizer", help="A JSON sidecar of statistics."),
    click.option("--backend", default="auto", show_default=True, help="auto, cpu, reference, ..."),
    click.option("--batch-size", type=int, help="Candidate plans. Default: 64 guided, else 1."),
    click.option("--horizon", type=int, help="Steps of a plan. Default: the trained ones."),
    click.option("--sampler", default="ddpm", show_default=True, help="ddpm, ddim, dpm_solver_pp_2m."),
    click.option("--n-steps", type=int, help="Denoising steps. Default: all."),
    click.option("--precision", default="float32", show_default=True),
    click.option(
        "--guide",
        type=click.Choice(["auto", "none", "rank"]),
        default="auto",
        show_default=True,
        help="By the value network's gradient where there is one; not at all; or only rank plans by value.",
    ),
    *_GUIDE_OPTIONS,
    click.option("--warm-start", type=click.IntRange(min=1), help="Denoise only so many rows of the last plan."),
    click.option("--threads", type=int, help="CPU threads. Default: the cores there are."),
    click.option("--seed", type=int, default=0, show_default=True),
)


def planner_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that ``make_planner`` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def guide_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that ``with_guide`` takes."""
    for option in reversed(_GUIDE_OPTIONS):
        command = option(command)
    return command


def make_planner(
    checkpoint: str, value: str | None, normalizer: str | None, guide: str = "auto", scale: float | None = None,
    guide_steps: int | None = None, t_stopgrad: int | None = None, **options: Any,
) -> Any:  # fmt: skip
    """Load and make ready."""
    from ..core.guidance import Guide
    from ..formats import load
    from ..planner import Planner

    loaded = with_guide(load(checkpoint, value=value, normalizer=normalizer), scale, guide_steps, t_stopgrad, guide)
    chosen = {"auto": "auto", "none": None, "rank": Guide(n_steps=0)}[guide]
    return Planner(loaded, guide=chosen, **options)


def with_guide(
    checkpoint: Any, scale: float | None, guide_steps: int | None, t_stopgrad: int | None, guide: str = "auto"
) -> Any:  # fmt: skip
    """The checkpoint with other numbers of guidance; UsageError for options that would have no effect."""
    given = {"--scale": ("scale", scale), "--guide-steps": ("n_steps", guide_steps),
             "--t-stopgrad": ("t_stopgrad", t_stopgrad)}  # fmt: skip
    given = {option: item for option, item in given.items() if item[1] is not None}
    if not given:
        return checkpoint
    if guide != "auto" or checkpoint.value is None:
        why = "the checkpoint has no value network" if guide == "auto" else f"--guide {guide} follows no gradient"
        raise click.UsageError(f"{', '.join(given)}: {why}")
    return dataclasses.replace(checkpoint, guide=dataclasses.replace(checkpoint.guide, **dict(given.values())))
