"""Which rows are shown: for everything measured the best row there is, by machine, threads and instruction set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, order=True)
class Setting:
    """What must agree before two rows may stand in one table. isa "": the CPU's widest."""

    cpu: str
    threads: int
    isa: str

    def __str__(self) -> str:
        cap = f", capped to {self.isa}" if self.isa else ""
        return f"{self.cpu}, {self.threads} thread{'s' if self.threads > 1 else ''}{cap}"


def setting(row: Row) -> Setting:
    """Of a row as ``rows.read`` gives it."""
    run = row["at"]
    return Setting(run["machine"]["cpu"], run["threads"], run["isa"] or "")


def best(rows: Iterable[Row], kind: str) -> dict[Setting, dict[tuple[str, ...], Row]]:
    """Rows of one kind, by setting and then by (workload, candidate, and index for layers); newest settings first.

    Of several rows for one thing a quiet one goes before a disturbed one, a full ladder before a quick one, and then
    the newest.
    """
    found: dict[Setting, dict[tuple[str, ...], Row]] = {}
    newest: dict[Setting, str] = {}
    for row in rows:
        if row["row"] != kind:
            continue
        where, key = setting(row), (row["workload"], row["candidate"], str(row.get("index", "")))
        here = found.setdefault(where, {})
        if key not in here or _rank(row) >= _rank(here[key]):
            here[key] = row
        newest[where] = max(newest.get(where, ""), row["at"]["time"])
    # The machine used last comes first; on it the setting that nothing was taken from, with the most threads.
    latest = {cpu: max(t for s, t in newest.items() if s.cpu == cpu) for cpu in {s.cpu for s in newest}}
    order = sorted(found, key=lambda s: (s.isa == "", s.threads), reverse=True)
    return {s: found[s] for s in sorted(order, key=lambda s: latest[s.cpu], reverse=True)}


def _rank(row: Row) -> tuple[bool, bool, str]:
    return row.get("warning") is None, not row["at"]["quick"], row["at"]["time"]
