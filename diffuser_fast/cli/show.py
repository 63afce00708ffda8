"""What commands have in common on the screen: progress, tables, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def emit(record: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    click.echo(json.dumps(record, indent=2))


@contextmanager
def progress(label: str, total: int, *, start: int = 0, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A bar on standard error; yields ``update(done, note="")``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bars:
        task = bars.add_task(label, total=total, completed=start, note="")
        yield lambda done, note="", total=None: bars.update(task, completed=done, note=note, total=total)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output: the first column left, numbers right."""
    from rich.console import Console
    from rich.table import Table

    made = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        made.add_column(name, justify="right" if i else "left")
    for row in rows:
        made.add_row(*row)
    Console().print(made)
