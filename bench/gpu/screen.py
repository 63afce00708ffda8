"""What is shown while it happens: plain text, read in logs too."""

from __future__ import annotations

import time
from typing import Any

from ..screen import NONE, aligned, number
from .deadline import Deadline

Row = dict[str, Any]
COLUMNS = ["", "device p50 ms", "p99", "end to end p50", "p99", "speed-up", "over original", "error", "class", "model"]


class Screen:
    """Each line with the time that has passed."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline

    def say(self, text: str) -> None:
        """A sentence, flushed: the next thing may end the process."""
        passed = time.strftime("%M:%S", time.gmtime(self.deadline.clock() - self.deadline.began))
        print(f"[{passed}] {text}", flush=True)

    def device(self, record: dict[str, Any], versions: dict[str, str | None]) -> None:
        """What everything below was measured on."""
        facts = [f"{name.replace('_', ' ')} {value}" for name, value in record.items() if value is not None]
        software = [f"{name} {versions[name]}" for name in ("torch", "triton", "numpy") if versions.get(name)]
        self.say(", ".join([*facts, *software]))

    def check(self, row: Row) -> None:
        """One check of one candidate."""
        worst = "nothing" if row["worst_case"] is None else f"worst {number(row['worst'])} ({row['worst_case']})"
        verdict = "FAILED" if row["failed"] else "passed"
        self.say(
            f"{row['check']}, {row['candidate']} ({row['exactness']}): {row['cases']} of {row['total']} run, "
            f"{row['failed']} failed, {worst}: {verdict}" + (f" ({row['why_not']})" if row["why_not"] else "")
        )

    def constants(self, rows: list[Row]) -> None:
        """Measured beside what the model assumes."""
        cells = [[f"{r['name']} ({r['how']})", number(r["us"]), number(r["assumed_us"])] for r in rows]
        self._table("constants of launching", ["", "us", "model assumes"], cells)
        for row in rows:
            if row["why_not"]:
                print(f"  ({row['name']}: {row['why_not']})", flush=True)

    def rung(self, rows: list[Row]) -> None:
        """One workload's candidates."""
        first = rows[0]
        title = f"{first['workload']}: {first['flops'] / 1e9:.3g} GFLOP, best peer {first['best_peer'] or NONE}"
        self._table(title, COLUMNS, [_cells(row) for row in rows if row["why_not"] is None])
        for row in rows:
            if row["why_not"] or row["note"]:
                print(f"  ({row['candidate']}: {row['why_not'] or row['note']})", flush=True)

    def _table(self, title: str, columns: list[str], cells: list[list[str]]) -> None:
        self.say(title)
        print("\n".join(f"  {line}" for line in aligned([columns, *cells])), flush=True)


def _cells(row: Row) -> list[str]:
    times = [number(row[name], 3) for name in ("device_p50_ms", "device_p99_ms", "host_p50_ms", "host_p99_ms")]
    ratios = [number(row[name]) for name in ("speedup", "over_original")]
    return [row["candidate"], *times, *ratios, f"{row['deviation']:.1e}", row["exactness"], number(row["predicted_ms"])]
