"""What becomes of records: shown while it happens, and appended to the files of the records where that is asked for."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import tables
from .records import RESULTS, Case, Log, Run, Sheet


class Console:
    """Tables on standard output, progress and warnings on standard error; nothing if ``quiet``. Plain text, as wide as
    it needs to be: it is read in logs, too."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def say(self, text: str, err: bool = False) -> None:
        """Flushed: the next thing may end the process."""
        if not self.quiet:
            print(text, file=sys.stderr if err else sys.stdout, flush=True)

    def show(self, record: Case | Sheet, run: Run | None = None) -> None:
        """A record as a table, with what there is to say about it. run: a case's."""
        title, table = tables.of(record, run)
        self.say("\n" + "\n".join([title, *tables.aligned(table)]))
        for result in record.results if isinstance(record, Case) else ():
            if result.why_not or result.note:
                self.say(f"  ({result.candidate}: {result.why_not or result.note})")
        if record.warning:
            self.say(f"warning: {record.warning}", err=True)


def add_options(parser: ArgumentParser) -> None:
    """--record and --results, of commands that print sheets."""
    parser.add_argument("--record", action="store_true", help="append what was measured to bench/results")
    parser.add_argument("--results", metavar="FOLDER", default=RESULTS, help="of the records")


@contextmanager
def recording(
    module: str, words: list[str] | None, threads: int, asked: Namespace
) -> Iterator[Callable[[Sheet], None]]:
    """What shows a sheet of ``python -m <module>``, a command of its own on the CPU, and keeps it where --record says
    so. words: its own, if not sys.argv's."""
    command = " ".join([f"python -m {module}", *(sys.argv[1:] if words is None else words)])
    log, settings = None, {"clock": "cpu", "threads": threads, "isa": None, "quick": False, "load": os.getloadavg()[0]}
    if asked.record:
        log = Log(asked.results, command=command, **settings)

    def kept(sheet: Sheet) -> None:
        Console().show(sheet)
        if log is not None:
            log.append(sheet)

    yield kept
    if log is not None:
        print(f"{len(log.records) - 1} records appended to {os.path.relpath(log.path)}")
