"""What is shown while it happens: tables on standard output, progress and warnings on standard error."""

from __future__ import annotations

import sys

from . import tables
from .records import Case, Run, Sheet


class Console:
    """Says nothing if ``quiet``. Plain text, as wide as it needs to be: it is read in logs, too."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def say(self, text: str, err: bool = False) -> None:
        """Flushed: the next thing may end the process."""
        if not self.quiet:
            print(text, file=sys.stderr if err else sys.stdout, flush=True)

    def show(self, record: Case | Sheet, run: Run) -> None:
        """A record as a table, with what there is to say about it."""
        title, table = tables.of(record, run)
        self.say("\n" + "\n".join([title, *tables.aligned(table)]))
        for result in record.results if isinstance(record, Case) else ():
            if result.why_not or result.note:
                self.say(f"  ({result.candidate}: {result.why_not or result.note})")
        if record.warning:
            self.say(f"warning: {record.warning}", err=True)
