"""Commands that print sheets and, if asked for, append them to the records: their options, what becomes of a sheet."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .records import RESULTS, Sheet, log_of


def add_options(parser: ArgumentParser) -> None:
    """--record and --results."""
    parser.add_argument("--record", action="store_true", help="append what was measured to bench/results")
    parser.add_argument("--results", metavar="FOLDER", default=RESULTS, help="of the records")


@contextmanager
def recording(
    module: str, words: list[str] | None, threads: int, asked: Namespace
) -> Iterator[Callable[[Sheet], None]]:
    """What shows a sheet of ``python -m <module>``, and keeps it where --record says so."""
    log = log_of(module, words, threads, asked.results) if asked.record else None

    def kept(sheet: Sheet) -> None:
        show(sheet)
        if log is not None:
            log.append(sheet)

    yield kept
    if log is not None:
        print(f"{len(log.records) - 1} records appended to {os.path.relpath(log.path)}")


def show(sheet: Sheet) -> None:
    """Printed."""
    print(f"\n{sheet.what}: {sheet.name}{f' ({sheet.warning})' if sheet.warning else ''}")
    print(*(f"{column:>16}" for column in sheet.columns))
    for row in sheet.rows:
        print(*(f"{v:>16.3f}" if isinstance(v, float) else f"{v!s:>16}" for v in row), flush=True)
