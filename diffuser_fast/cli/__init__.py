"""The command line: one file per command; a command's imports are paid only when it is called."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import click

from ..core.spelling import spelled
from .errors import DONE, INTERRUPTED, WRONG_INPUT, failed, option_of, wants_traceback, warned

COMMANDS = {
    "demo": "Plan through a maze with the bundled planner, and look at it.",
    "info": "What a checkpoint holds.",
    "convert": "Any known checkpoint to the native format.",
    "export": "A planner as one file, for C and C++.",
    "stats": "The normaliser statistics that a checkpoint of the original's lacks.",
    "plan": "One plan from one observation.",
    "rollout": "Closed-loop episodes in an environment, and their score.",
    "bench": "Latency of the engines beside their peers.",
    "certify": "How exactly each engine plans with a checkpoint.",
    "doctor": "What runs here, what does not, and why.",
    "data": "Make a data set for Maze2D.",
    "train": "Train a planner, or go on training one.",
}


def _want_traceback(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        wants_traceback.set(True)


def _debug() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=_want_traceback, help="Errors with their traceback."
    )


class Commands(click.Group):
    """Looks a command up in its own module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import ``diffuser_fast.cli.<name>`` and take its ``command``."""
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f".{name}", __name__).command
        command.name = name
        if not any(parameter.opts == ["--debug"] for parameter in command.params):
            command.params.append(_debug())
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; errors are said in its own words, and warnings on one line."""
        with spelled(option_of), warnings.catch_warnings():
            warnings.showwarning = warned
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.Abort, click.exceptions.Exit):
                raise
            except Exception as error:
                name = ctx.invoked_subcommand
                ctx.exit(failed(error, self.get_command(ctx, name) if name else None))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, params=[_debug()])
@click.version_option(package_name="diffuser-fast", prog_name="diffuser-fast")
def group() -> None:
    """Diffusion planning in real time (Janner et al. 2022)."""


def main(args: list[str] | None = None) -> int:
    """Run a command. Exit codes: 0 done; 1 it failed; 2 the input was wrong; 130 interrupted."""
    token = wants_traceback.set(False)
    try:
        return group.main(args=args, prog_name="diffuser-fast", standalone_mode=False) or DONE
    except click.ClickException as error:
        error.show()
        return WRONG_INPUT
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    finally:
        wants_traceback.reset(token)
