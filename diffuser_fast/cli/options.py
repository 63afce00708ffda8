"""Options that several commands share: which checkpoint, which planner, and how it is made ready."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def adds(options: Sequence[Decorator]) -> Decorator:
    """A decorator that adds options to a command, in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


class Listed(click.ParamType):
    """Numbers between commas."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind, self.name = kind, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple:
        """Text -> tuple."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in value.split(","))
        except ValueError:
            self.fail(f"found {value!r}, expected {self.name}", param, ctx)


_LOAD = (
    click.option("--value", metavar="PATH", help="A value checkpoint instead of the one beside or inside CHECKPOINT."),
    click.option("--normalizer", metavar="PATH", help="A JSON sidecar of statistics, of `diffuser-fast stats`."),
    click.option("--epoch", type=int, help="Which state_<epoch>.pt of a folder. Default: the highest."),
    click.option("--trained-horizon", type=int, help="Horizon, where the original's configuration is lost."),
    click.option("--action-dim", type=int, help="Size of an action, likewise."),
    click.option("--prediction", help="What the network predicts, x0 or epsilon, likewise."),
    click.option("--clip-denoised/--no-clip-denoised", default=None, help="Whether x0 is clipped, likewise."),
    click.option(
        "--fact", multiple=True, metavar="NAME=VALUE", help="Another of these, by its name in docs/migrating.md."
    ),
)
_GUIDE = (
    click.option("--scale", type=float, help="Of the guide's gradient. Default: the checkpoint's."),
    click.option("--guide-steps", type=click.IntRange(min=1), help="Gradient steps of a denoising step."),
    click.option("--t-stopgrad", type=click.IntRange(min=0), help="Denoising steps t below it are not guided."),
    click.option("--scale-by-variance/--no-scale-by-variance", default=None, help="Or only by --scale."),
    click.option("--factor", help="Another number of the denoising step to multiply by; docs/migrating.md lists them."),
    click.option("--on", type=click.Choice(["x", "x0"]), help="What the gradient is added to."),
    click.option("--variance-power", type=float, help="Of the variance; 0.5 as in the original's locomotion branch."),
)
GUIDE_FIELDS = {  # options -> fields of a Guide
    "scale": "scale",
    "guide_steps": "n_steps",
    "t_stopgrad": "t_stopgrad",
    "scale_by_variance": "scale_by_variance",
    "variance_power": "variance_power",
    "factor": "factor",
    "on": "on",
}
_PLANNER = (
    click.option("--backend", default="auto", show_default=True, help="auto, cpu, reference, ..."),
    click.option("--device", help="Of the backend, such as cuda:1."),
    click.option("--batch-size", type=int, help="Candidate plans. Default: 64 guided, else 1."),
    click.option("--horizon", type=int, help="Steps of a plan. Default: the trained ones."),
    click.option("--sampler", help="ddpm, ddim, dpm_solver_pp_2m. Default: the checkpoint's own."),
    click.option("--n-steps", type=int, help="Denoising steps. Default: all."),
    click.option("--eta", type=float, help="Of ddim: 0 is deterministic."),
    click.option("--precision", help="Default: float32."),
    click.option(
        "--guide",
        type=click.Choice(["auto", "none", "rank"]),
        default="auto",
        show_default=True,
        help="By the value network's gradient where there is one; not at all; or only rank plans by value.",
    ),
    *_GUIDE,
    click.option("--warm-start", type=click.IntRange(min=1), help="Denoise only so many rows of the last plan."),
    click.option("--clip-scope", type=click.Choice(["plan", "array"]), default="plan", show_default=True,
                 help="What is clipped to the data's limits as a whole: a plan, or all of them (the original)."),
    click.option("--threads", type=int, help="CPU threads. Default: the cores there are."),
    click.option("--cores", type=Listed(int, "cores like 2,3"), metavar="C,C", help="Cores to pin the threads to."),
    click.option("--launches", help="Of the CUDA engine: stages, loop, cluster, async.  [default: by its model]"),
    click.option("--preset", help="realtime, balanced or paper: settings where none are given."),
    click.option("--seed", type=int, default=0, show_default=True),
)  # fmt: skip

load_options = adds(_LOAD)  # what load_checkpoint takes
guide_options = adds(_GUIDE)  # what with_guide takes
planner_options = adds((*_LOAD, *_PLANNER))  # what make_planner takes


def load_checkpoint(checkpoint: str, options: dict[str, Any]) -> Any:
    """``load`` with the options of ``load_options``, which are taken out of ``options``."""
    from ..formats import load

    value, normalizer = options.pop("value"), options.pop("normalizer")
    facts = {"epoch": options.pop("epoch"), "horizon": options.pop("trained_horizon")}
    facts |= {name: options.pop(name) for name in ("action_dim", "prediction", "clip_denoised")}
    given = {name: fact for name, fact in facts.items() if fact is not None}
    for name, said in (fact(text, "--fact") for text in options.pop("fact")):
        if name in given or name in ("path", "value", "normalizer"):
            raise click.BadParameter(f"found {name}, which is given otherwise", param_hint="--fact")
        given[name] = said
    return load(checkpoint, value=value, normalizer=normalizer, **given)


def check_file(option: str, path: Any) -> None:
    """BadParameter, naming the option, for a file that could not be written: asked before the work, not after."""
    from ..core.whole_file import check_writable

    try:
        check_writable(path)
    except OSError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def fact(text: str, option: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON has it, or else text; ``option`` is named where it is neither."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter(f"found {text!r}, expected NAME=VALUE", param_hint=option)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def make_planner(checkpoint: str, guide: str, eta: float | None, **options: Any) -> Any:
    """Load and make ready."""
    from ..core.guidance import Guide
    from ..planner import Planner

    loaded = with_guide(load_checkpoint(checkpoint, options), options, guide)
    chosen = {"auto": "auto", "none": None, "rank": Guide(n_steps=0)}[guide]
    return Planner(loaded, guide=chosen, **options, **({} if eta is None else {"eta": eta}))


def with_guide(checkpoint: Any, options: dict[str, Any], guide: str = "auto") -> Any:
    """The checkpoint with other numbers of guidance: the options of ``guide_options``, which are taken out.

    UsageError for options that would have no effect.
    """
    found = {option: (field, options.pop(option)) for option, field in GUIDE_FIELDS.items()}
    given = {option: item for option, item in found.items() if item[1] is not None}
    if not given:
        return checkpoint
    if guide != "auto" or checkpoint.value is None:
        why = "the checkpoint has no value network" if guide == "auto" else f"--guide {guide} follows no gradient"
        raise click.UsageError(f"{', '.join('--' + option.replace('_', '-') for option in given)}: {why}")
    return dataclasses.replace(checkpoint, guide=dataclasses.replace(checkpoint.guide, **dict(given.values())))
