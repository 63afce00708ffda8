"""``diffuser-fast plan``: one plan from one observation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from . import show
from .options import make_planner, planner_options


@click.command()
@click.argument("checkpoint")
@click.option("--obs", required=True, help='The observation now, JSON: "[1, 1, 0, 0]".')
@click.option("--goal", help="The observation at the end of the horizon, JSON.")
@click.option("--condition", "conditions", multiple=True, help='Further ones, JSON: \'{"12": {"0": 2.5}}\'.')
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="A PNG of the plans (Maze2D).")
@planner_options
@show.json_option
def command(
    checkpoint: str, obs: str, goal: str | None, conditions: tuple[str, ...], picture: Path | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Plan with CHECKPOINT from an observation, in physical units, and print the first action and the latency."""
    planner = make_planner(checkpoint, **options)
    given: dict[int, Any] = {0: _json("--obs", obs)}
    if goal is not None:
        given[-1] = _json("--goal", goal)
    for text in conditions:
        for time, value in _json("--condition", text).items():
            given[int(time)] = {int(d): v for d, v in value.items()} if isinstance(value, dict) else value
    plans = planner.plan(given)
    if picture:
        from .pictures import plan_picture

        plan_picture(picture, str(planner.checkpoint.metadata.get("env", "")), plans.observations)
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
            }
        )
        return
    click.echo(f"first action  {_numbers(plans.actions[0, 0])}")
    click.echo(f"from          {_numbers(plans.observations[0, 0])}")
    click.echo(f"to            {_numbers(plans.observations[0, -1])}")
    click.echo(f"value         {plans.values[0]:.4g} (best of {len(plans.values)})")
    click.echo(f"{plans.latency_ms:.2f} ms on backend {planner.backend}, {plans.exactness}")


def _json(option: str, text: str) -> Any:
    try:
        return json.loads(text)  # accepts NaN, which conditions then refuse by name
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint=option) from None


def _numbers(array: Any) -> str:
    return "[" + ", ".join(f"{v:.3f}" for v in array) + "]"
