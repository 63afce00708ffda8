"""What is shown while it happens: a table per workload on standard output, progress on standard error."""

from __future__ import annotations

import sys
from typing import Any

from .roofline import WEIGHTS_MIB, Ceiling

Row = dict[str, Any]
NONE = "-"


class Screen:
    """Says nothing if ``quiet``. Plain text, as wide as it needs to be: it is read in logs, too."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def progress(self, done: int, total: int, name: str) -> None:
        """Which of how many is being measured now."""
        self._say(f"[{done}/{total}] {name}", err=True)

    def warn(self, sentence: str) -> None:
        """What everyone should know before they read a number."""
        self._say(f"warning: {sentence}", err=True)

    def ceiling(self, c: Ceiling) -> None:
        """The machine's limits."""
        self._say(
            f"{c.threads} threads: {c.gflops:.0f} GFLOP/s of float32 multiply-add ({c.isa}), "
            f"{c.weights_gbs:.0f} GB/s reading {WEIGHTS_MIB} MiB ({c.how})"
        )

    def rung(self, rows: list[Row]) -> None:
        """One workload's candidates."""
        first, columns = rows[0], "p50 ms|p90|p99|speed-up|GFLOP/s|FMA|read|error|class|RSS MiB"
        work = f"{first['flops'] / 1e9:.3g} GFLOP, {first['weight_bytes'] / 1e6:.3g} MB of weights"
        timed = [_timing(row) for row in rows if row["why_not"] is None]
        self._table(f"{first['workload']}: {work}", columns, timed)
        for row in rows:
            if row["why_not"] or row["note"]:
                self._say(f"  ({row['candidate']}: {row['why_not'] or row['note']})")
        if first["warning"]:
            self.warn(first["warning"])

    def tail(self, row: Row) -> None:
        """One control loop."""
        times = [number(row[name], 3) for name in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")]
        cells = [[row["candidate"], str(row["threads"]), str(row["calls"]), *times]]
        self._table(row["workload"], "threads|calls|p50 ms|p99|p99.9|slowest", cells)
        if row["warning"]:
            self.warn(row["warning"])

    def layers(self, rows: list[Row]) -> None:
        """Every op of one workload."""
        cells = [
            [f"{r['op']} {r['shape']}", *(number(r[name], 1) for name in ("us", "gflops", "bound_gflops"))]
            + [percent(r["percent"])]
            for r in rows
        ]
        total = sum(r["us"] for r in rows)
        self._table(f"{rows[0]['workload']}, {total:.0f} us in all", "us|GFLOP/s|roof|of roof", cells)

    def memory(self, rows: list[Row]) -> None:
        """Peak memory of one workload's candidates."""
        cells = [[r["candidate"], r["why_not"] or number(r["peak_rss_mib"], 0)] for r in rows]
        self._table(f"{rows[0]['workload']}: peak memory of a process of its own", "MiB", cells)

    def _say(self, text: str, err: bool = False) -> None:
        if not self.quiet:
            print(text, file=sys.stderr if err else sys.stdout, flush=True)

    def _table(self, title: str, columns: str, cells: list[list[str]]) -> None:
        self._say("\n" + "\n".join([title, *aligned([["", *columns.split("|")], *cells])]))


def aligned(cells: list[list[str]]) -> list[str]:
    """Lines of a table: the first column left, the others right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def placed(i: int, cell: str) -> str:
        return cell.rjust(widths[i]) if i else cell.ljust(widths[i])

    return ["  ".join(placed(i, cell) for i, cell in enumerate(row)).rstrip() for row in cells]


def number(value: float | None, digits: int = 2) -> str:
    """Fixed digits, or a dash."""
    return NONE if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Whole percent, or a dash."""
    return NONE if value is None else f"{value:.0f} %"


def speedup(row: Row) -> str:
    """The ratio with its interval: "5.1 (4.9 to 5.3)"."""
    if row["speedup"] is None:
        return NONE
    if row["speedup_low"] is None or row["candidate"] == row["best_peer"]:
        return number(row["speedup"])
    return f"{row['speedup']:.2f} ({row['speedup_low']:.2f} to {row['speedup_high']:.2f})"


def _timing(row: Row) -> list[str]:
    times = [number(row[name], 3) for name in ("p50_ms", "p90_ms", "p99_ms")]
    shares = [percent(row[name]) for name in ("fma_percent", "bandwidth_percent")]
    error = [f"{row['deviation']:.1e}", row["exactness"], number(row["rss_growth_mib"], 0)]
    return [row["candidate"], *times, speedup(row), number(row["gflops"], 1), *shares, *error]
