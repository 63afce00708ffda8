"""Tables of Markdown from the rows of GPUs. No number in a table is typed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..screen import NONE, number

Row = dict[str, Any]
NOTHING = "No GPU rows yet."


def gpu(rows: Iterable[Row]) -> str:
    """Every GPU: its checks, its constants, and of every workload the newest row of every candidate."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if not row["row"].startswith("gpu_"):
            continue
        if row["rehearsal"]:
            raise ValueError(f"results: run {row['run']} is a rehearsal: its numbers mean nothing and go into no table")
        found.setdefault(row["at"]["machine"]["gpu"]["name"], []).append(row)
    return "\n\n".join("\n".join(_device(of_one)) for of_one in found.values()) or NOTHING


def _device(rows: list[Row]) -> Iterator[str]:
    last = max((row["at"] for row in rows), key=lambda run: run["time"])
    device, versions = last["machine"]["gpu"], last["versions"]
    yield (
        f"**{device['name']}**, driver {device.get('driver_version') or 'unknown'}, torch {versions['torch']}, "
        f"triton {versions['triton']}. Last measured {last['time'][:10]} at "
        f"{(last['commit'] or 'unknown')[:8]}{'+' if last['dirty'] else ''}."
    )
    for part in (_timings(rows), _checks(rows), _constants(rows)):
        if part:
            yield ""
            yield from part


def _timings(rows: list[Row]) -> list[str]:
    newest = _newest(rows, "gpu_timing", "workload", "candidate")
    timed = [row for row in newest if row["host_p50_ms"] is not None]
    timed.sort(key=lambda row: (row["workload"], row["ours"]))
    head = ("workload", "candidate", "device p50 ms", "p99", "end to end p50 ms", "p99", "over the best peer",
            "over the original", "error", "class")  # fmt: skip
    body = []
    for row in timed:
        times = [number(row[n]) for n in ("device_p50_ms", "device_p99_ms", "host_p50_ms", "host_p99_ms")]
        ratios = [_times(row["speedup"]), _times(row["over_original"])]
        body.append((row["workload"], row["candidate"], *times, *ratios, f"{row['deviation']:.0e}", row["exactness"]))
    return _table(head, body)


def _checks(rows: list[Row]) -> list[str]:
    head = ("check", "of", "class", "run", "of all", "failed", "worst, of what is allowed")
    body = [
        (r["check"], r["candidate"], r["exactness"], r["cases"], r["total"], r["failed"], number(r["worst"]))
        for r in _newest(rows, "gpu_check", "check", "candidate")
    ]
    return _table(head, body)


def _constants(rows: list[Row]) -> list[str]:
    body = [
        (r["name"], number(r["us"]), number(r["assumed_us"]), r["how"])
        for r in _newest(rows, "gpu_constant", "name")
        if r["us"] is not None
    ]
    return _table(("constant", "us", "the model assumed", "how"), body)


def _newest(rows: list[Row], kind: str, *key: str) -> list[Row]:
    """The last row of everything; of two of one run the one that was timed."""
    found: dict[tuple[str, ...], Row] = {}
    for row in sorted((row for row in rows if row["row"] == kind), key=lambda row: row["at"]["time"]):
        name = tuple(row[part] for part in key)
        if row["why_not"] is None or name not in found:
            found[name] = row
    return list(found.values())


def _table(head: tuple[str, ...], body: list[tuple[Any, ...]]) -> list[str]:
    if not body:
        return []
    rows = [head, ("---", *["---:"] * (len(head) - 1)), *body]
    return [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]


def _times(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.1f}x"
