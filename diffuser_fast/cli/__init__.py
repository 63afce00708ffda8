"""The command line: one file per command; a command's imports are paid only when it is called."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "demo": "Plan through a maze with the bundled planner, and look at it.",
    "info": "What a checkpoint holds.",
    "convert": "Any known checkpoint to the native format.",
    "plan": "One plan from one observation.",
    "rollout": "Closed-loop episodes in an environment, and their score.",
    "bench": "Latency of the engines beside their peers.",
    "doctor": "What runs here, what does not, and why.",
    "data": "Make a data set for Maze2D.",
    "train": "Train a planner, or go on training one.",
}


class Commands(click.Group):
    """Looks a command up in its own module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import ``diffuser_fast.cli.<name>`` and take its ``command``."""
        if name not in COMMANDS:
            return None
        return importlib.import_module(f".{name}", __name__).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="diffuser-fast", prog_name="diffuser-fast")
def group() -> None:
    """Diffusion planning in real time (Janner et al. 2022)."""


def main(args: list[str] | None = None) -> int:
    """Run a command. Exit codes: 0 done; 1 it failed; 2 the input was wrong; 130 interrupted."""
    try:
        return group.main(args=args, prog_name="diffuser-fast", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except (ValueError, TypeError, FileNotFoundError) as error:
        click.echo(f"error: {error}", err=True)
        return 2
    except (OSError, ImportError, FloatingPointError, RuntimeError) as error:
        click.echo(f"error: {error}", err=True)
        return 1
