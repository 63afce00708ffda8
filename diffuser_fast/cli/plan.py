"""``diffuser-fast plan``: one plan from one observation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from . import show
from .options import check_file, make_planner, planner_options


@click.command()
@click.argument("checkpoint")
@click.option("--obs", required=True, help='The observation now, JSON: "[1, 1, 0, 0]", or some of it: \'{"0": 1}\'.')
@click.option("--goal", help="The observation at the end of the horizon, JSON, likewise.")
@click.option(
    "--condition",
    multiple=True,
    help='Further ones, JSON: \'{"12": {"0": 2.5}}\'; a list: the numbers that the network is conditioned on.',
)
@click.option(
    "--noise",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="A tape instead of --seed: .npy, float32 [steps + 1, plans, horizon, actions + observations].",
)
@click.option("--number", type=click.IntRange(min=0), help="Of the plan among those of --seed. Default: 0.")
@click.option("--budget-ms", type=click.FloatRange(min=0), help="Milliseconds that planning may take.")
@click.option("--min-rows", type=click.IntRange(min=1), default=4, help="Fewest denoising steps for it. [4]")
@click.option("--chain", is_flag=True, help="With --json: every denoising step of the best plan too.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="A PNG of the plans (Maze2D).")
@click.option("--env", help="The maze of --picture. Default: the one the checkpoint was trained for.")
@planner_options
@show.json_option
def command(
    checkpoint: str, obs: str, goal: str | None, condition: tuple[str, ...], noise: Path | None, number: int | None,
    budget_ms: float | None, min_rows: int, chain: bool, picture: Path | None, env: str | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Plan with CHECKPOINT from an observation, in physical units, and print the first action and the latency."""
    planner = make_planner(checkpoint, **options)
    if picture:
        check_file("--picture", picture)
    given, conditioned = {}, None
    seen = _json("--obs", obs)
    if planner.checkpoint.observes_condition:  # the last observations, or one that stands for all of them
        history = planner.checkpoint.acting.history
        conditioned = [seen] * history if isinstance(seen, list) and not isinstance((seen or [0])[0], list) else seen
    else:
        given[0] = _given("--obs", seen)
    if goal is not None:
        given[-1] = _given("--goal", _json("--goal", goal))
    for text in condition:
        numbers = _json("--condition", text)
        if isinstance(numbers, list) and planner.checkpoint.unet.spec.condition:
            conditioned = numbers
        else:
            more = _conditions(numbers)
            if twice := sorted(given.keys() & more.keys()):
                known = {0: "--obs gives already", -1: "--goal gives already"}.get(twice[0], "is given twice")
                raise click.BadParameter(f"found time {twice[0]}, which {known}", param_hint="--condition")
            given |= more
    if _depth(conditioned) > 2:
        raise click.BadParameter("found several situations, expected one: a plan is of one", param_hint="--obs")
    tape = None if noise is None else _tape(noise)
    if budget_ms is not None:
        planner.calibrate()
    plans = planner.plan(
        given, tape, return_chain=chain, number=number, condition=conditioned, budget_ms=budget_ms, min_rows=min_rows
    )
    _say(planner, plans, as_json, chain, budget_ms)
    if picture:
        from .pictures import plan_picture

        plan_picture(picture, env or str(planner.checkpoint.metadata.get("env", "")), plans.observations)


def _say(planner: Any, plans: Any, as_json: bool, chain: bool, budget_ms: float | None) -> None:
    if as_json:
        show.emit(
            {
                "action": plans.actions[0, 0].tolist(),
                "values": plans.values.tolist(),
                "actions": plans.actions[0].tolist(),
                "observations": plans.observations[0].tolist(),
                "latency_ms": plans.latency_ms,
                "backend": planner.backend,
                "exactness": plans.exactness,
                "clipped": plans.clipped,
                "rows": plans.rows.tolist(),
                "finish": plans.finish,
                "deadline_met": plans.deadline_met,
                **({"chain": plans.chain[0].tolist()} if chain else {}),
            }
        )
        return
    click.echo(f"first action  {_numbers(plans.actions[0, 0])}")
    if plans.observations.size:
        click.echo(f"from          {_numbers(plans.observations[0, 0])}")
        click.echo(f"to            {_numbers(plans.observations[0, -1])}")
    click.echo(f"value         {plans.values[0]:.4g} (best of {len(plans.values)})")
    click.echo(f"{plans.latency_ms:.2f} ms on backend {planner.backend}, {plans.exactness}")
    if budget_ms is not None:
        met = "in time" if plans.deadline_met else "late"
        click.echo(f"{plans.finish}: {len(plans.rows)} denoising steps, {met}")
    if plans.clipped:
        click.echo("what was given lies beyond the data's limits: plans hold the nearest values inside them")


def _depth(value: Any) -> int:
    """How many lists lie one in another."""
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _json(option: str, text: str) -> Any:
    try:
        return json.loads(text)  # accepts NaN, which conditions then refuse by name
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint=option) from None


def _given(option: str, value: Any) -> Any:
    """An observation, or some dimensions of one: JSON has no whole numbers for keys."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if any(isinstance(part, list) for part in parts):
        raise click.BadParameter("found lists in it, expected one number for each dimension", param_hint=option)
    if not isinstance(value, dict):
        return value
    try:
        return {int(dimension): number for dimension, number in value.items()}
    except ValueError:
        raise click.BadParameter(f"found {list(value)}, expected dimensions as keys", param_hint=option) from None


def _conditions(record: Any) -> dict[int, Any]:
    if not isinstance(record, dict) or not all(re.fullmatch(r"\s*-?[0-9]{1,9}\s*", key) for key in record):
        raise click.BadParameter("expected times as keys, '{\"12\": [...]}'", param_hint="--condition")
    return {int(time): _given("--condition", value) for time, value in record.items()}


def _tape(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError):  # numpy's own words are about switching its safety off
        raise click.BadParameter(f"{path}: not an array of numbers in .npy", param_hint="--noise") from None


def _numbers(array: Any) -> str:
    return "[" + ", ".join(f"{v:.3f}" for v in array) + "]"
