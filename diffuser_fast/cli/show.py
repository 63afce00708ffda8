"""What commands have in common on the screen: progress, tables, JSON. All data is plain text.

Rich would read names in brackets as its markup, ``diffuser-fast[torch]`` as ``diffuser-fast``, and words between colons
as pictures: everything goes through these functions, which take strings for what they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def emit(record: dict[str, Any]) -> None:
    """One JSON object on standard output; null for what is no finite number, which JSON has not."""
    try:
        text = json.dumps(record, indent=2, default=_plain, allow_nan=False)
    except ValueError:
        plain = json.loads(json.dumps(record, default=_plain), parse_constant=lambda _: None)
        text = json.dumps(plain, indent=2)
    click.echo(text)


@contextmanager
def progress(label: str, total: int, *, start: int = 0, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A bar on standard error; yields ``update(done, note="")``."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=_console(stderr=True), disable=quiet) as bars:
        task = bars.add_task(label, total=total, completed=start, note="")
        yield lambda done, note="", total=None: bars.update(task, completed=done, note=note, total=total)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output: the first column left, numbers right."""
    from rich.table import Table

    made = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        made.add_column(name, justify="right" if i else "left")
    for row in rows:
        made.add_row(*row)
    _console().print(made)


def _console(**options: Any) -> Console:
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, **options)


def _plain(value: object) -> object:
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return value.tolist()
    raise TypeError(f"found {type(value).__name__}")
