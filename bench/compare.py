"""``python -m bench.compare OLD NEW``: what changed between two runs, in the candidates that both have.

OLD and NEW are runs (first letters of their id), commits (first letters) or files of rows. A time is compared as it is,
and as a ratio to the best peer of its own run: the machine may have been slower that day, for everybody alike.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from .choice import Row
from .rows import read
from .screen import aligned, number


def pick(rows: Iterable[Row], name: str) -> list[Row]:
    """Timing rows of a run, a commit or a file; ValueError if there are none."""
    pool = read([Path(name)]) if Path(name).is_file() else rows
    whole = Path(name).is_file()
    found = [
        row
        for row in pool
        if row["row"] == "timing"
        and row["p50_ms"] is not None
        and (whole or row["run"].startswith(name) or (row["at"]["commit"] or "").startswith(name))
    ]
    if not found:
        raise ValueError(f"compare: no timings of a run, a commit or a file {name!r}")
    return found


def compare(old: Iterable[Row], new: Iterable[Row]) -> list[list[str]]:
    """Cells of a table. A change is "real" where the intervals of the two ratios to the best peer do not overlap."""
    before = {_key(row): row for row in old}
    cells = [["", "candidate", "old ms", "new ms", "change", "old speed-up", "new", "real"]]
    for row in new:
        was = before.get(_key(row))
        if was is None:
            continue
        change = f"{row['p50_ms'] / was['p50_ms'] - 1:+.1%}"
        ratios = [number(was["speedup"]), number(row["speedup"])]
        times = [number(was["p50_ms"], 3), number(row["p50_ms"], 3)]
        cells.append([row["workload"], row["candidate"], *times, change, *ratios, _real(was, row)])
    return cells


def _real(was: Row, now: Row) -> str:
    ends = (was["speedup_low"], was["speedup_high"], now["speedup_low"], now["speedup_high"])
    if None in ends or was["best_peer"] != now["best_peer"]:
        return "-"
    if now["speedup_low"] > was["speedup_high"]:
        return "faster"
    return "slower" if now["speedup_high"] < was["speedup_low"] else "no"


def _key(row: Row) -> tuple[str, str, int, str]:
    return row["workload"], row["candidate"], row["at"]["threads"], row["at"]["isa"] or ""


def main(arguments: list[str]) -> int:
    """Exit codes: 0, or 2 on wrong arguments."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    rows = read()
    try:
        cells = compare(*(pick(rows, name) for name in arguments))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(aligned(cells)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
