"""Rows of results: their schema, and files that are only ever appended to.

A file holds JSON objects, one a line. Each command writes one "run" row, then a row for everything it measured:
"timing" (a candidate on a workload), "tail" (a control loop), "layer" (an op of our engine), "memory"; on a GPU
"gpu_timing", "gpu_check" and "gpu_constant". README.md says what each field means.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import machine

RESULTS = Path(__file__).with_name("results")
VERSION = 1

_TEXT, _NUMBER, _COUNT, _YES = str, (int, float), int, bool
_MAYBE = type(None)
_ANY = (_NUMBER[0], _NUMBER[1], _MAYBE)
_SAID = (str, _MAYBE)

# Kind of row -> field -> types it may have. Every field is in every row of its kind.
SCHEMA: dict[str, dict[str, Any]] = {
    "run": {
        "version": _COUNT, "time": _TEXT, "command": _TEXT, "commit": _SAID, "dirty": _YES, "machine": dict,
        "versions": dict, "ceiling": dict, "threads": _COUNT, "isa": _SAID, "quick": _YES, "load": _ANY,
    },
    "timing": {
        "workload": _TEXT, "network": _TEXT, "horizon": _COUNT, "kind": _TEXT, "batch": _COUNT, "candidate": _TEXT,
        "ours": _YES, "why_not": _SAID, "note": _TEXT, "exactness": _SAID, "deviation": _ANY, "over": _ANY,
        "calls": _COUNT, "rounds": _COUNT, "p50_ms": _ANY, "p90_ms": _ANY, "p99_ms": _ANY, "min_ms": _ANY,
        "best_peer": _SAID, "speedup": _ANY, "speedup_low": _ANY, "speedup_high": _ANY, "flops": _COUNT,
        "weight_bytes": _COUNT, "gflops": _ANY, "fma_percent": _ANY, "weights_gbs": _ANY, "bandwidth_percent": _ANY,
        "ready_s": _ANY, "rss_mib": _ANY, "rss_growth_mib": _ANY, "others": _ANY, "warning": _SAID,
    },
    "tail": {
        "workload": _TEXT, "candidate": _TEXT, "threads": _COUNT, "calls": _COUNT, "p50_ms": _ANY, "p99_ms": _ANY,
        "p99_9_ms": _ANY, "max_ms": _ANY, "others": _ANY, "warning": _SAID,
    },
    "layer": {
        "workload": _TEXT, "candidate": _TEXT, "program": _TEXT, "index": _COUNT, "op": _TEXT, "shape": _TEXT,
        "flops": _COUNT, "bytes": _COUNT, "us": _NUMBER, "gflops": _NUMBER, "intensity": _NUMBER,
        "bound_gflops": _NUMBER, "percent": _NUMBER, "others": _ANY, "warning": _SAID,
    },
    "memory": {
        "workload": _TEXT, "candidate": _TEXT, "why_not": _SAID, "peak_rss_mib": _ANY, "torch_loaded": (bool, _MAYBE),
    },
    "gpu_timing": {
        "workload": _TEXT, "network": _TEXT, "horizon": _COUNT, "kind": _TEXT, "batch": _COUNT, "candidate": _TEXT,
        "ours": _YES, "why_not": _SAID, "note": _TEXT, "exactness": _SAID, "deviation": _ANY, "over": _ANY,
        "device_calls": _COUNT, "device_p50_ms": _ANY, "device_p99_ms": _ANY, "host_calls": _COUNT,
        "host_p50_ms": _ANY, "host_p99_ms": _ANY, "best_peer": _SAID, "speedup": _ANY, "speedup_low": _ANY,
        "speedup_high": _ANY, "over_original": _ANY, "predicted_ms": _ANY, "flops": _COUNT, "tflops": _ANY,
        "ready_s": _ANY, "rehearsal": _YES,
    },
    "gpu_check": {
        "check": _TEXT, "candidate": _TEXT, "exactness": _TEXT, "cases": _COUNT, "total": _COUNT,
        "failed": _COUNT, "worst": _ANY, "worst_case": _SAID, "why_not": _SAID, "rehearsal": _YES,
    },
    "gpu_constant": {
        "name": _TEXT, "us": _ANY, "assumed_us": _ANY, "how": _TEXT, "why_not": _SAID, "rehearsal": _YES,
    },
}  # fmt: skip


class Log:
    """Appends the rows of one run to ``<folder>/<date>-<device>.jsonl``, each as soon as it is known.

    device: what the file is named for; None: the CPU.
    """

    def __init__(self, record: dict[str, Any], folder: Path = RESULTS, device: str | None = None) -> None:
        now = datetime.now(timezone.utc)
        self.run = uuid.uuid4().hex[:12]
        self.path = folder / f"{now:%Y-%m-%d}-{machine.slug(device or record['machine']['cpu'])}.jsonl"
        self.rows: list[dict[str, Any]] = []
        self.append("run", {"version": VERSION, "time": now.isoformat(timespec="seconds"), **record})

    def append(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        """One row, checked, written and on disk when this returns. Folders of this machine are taken out of it."""
        named = {name: machine.nameless(v) if isinstance(v, str) else v for name, v in fields.items()}
        row = {"row": kind, "run": self.run, **named}
        check(row)
        line = json.dumps(row, allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One write to a file opened for appending: two ladders at once interleave lines, never parts of lines.
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
        self.rows.append(row)
        return row


def check(row: dict[str, Any]) -> None:
    """ValueError unless the row is what SCHEMA says."""
    kind = row.get("row")
    if kind not in SCHEMA:
        raise ValueError(f"row: kind {kind!r} is not one of {', '.join(SCHEMA)}")
    expected = {"row": _TEXT, "run": _TEXT, **SCHEMA[kind]}
    if set(row) != set(expected):
        missing, extra = sorted(expected.keys() - row.keys()), sorted(row.keys() - expected.keys())
        raise ValueError(f"{kind} row: missing {missing}, not expected {extra}")
    for name, types in expected.items():
        value = row[name]
        allowed = types if isinstance(types, tuple) else (types,)
        if type(value) not in allowed:
            raise ValueError(f"{kind} row: {name} is {value!r}, expected {' or '.join(t.__name__ for t in allowed)}")


def read(paths: Iterable[Path] | None = None) -> list[dict[str, Any]]:
    """All rows of these files (default: all there are), oldest run first; "run" rows joined into the others as ``at``.

    ValueError names a line that is not a row.
    """
    found, runs = [], {}
    for path in sorted(RESULTS.glob("*.jsonl")) if paths is None else paths:
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                check(row)
            except ValueError as error:
                raise ValueError(f"{Path(path).name}:{number}: {error}") from None
            if row["row"] == "run":
                runs[row["run"]] = row
            else:
                found.append(row)
    lost = {row["run"] for row in found} - runs.keys()
    if lost:
        raise ValueError(f"results: rows of runs {', '.join(sorted(lost))} have no run row")
    return sorted(({**row, "at": runs[row["run"]]} for row in found), key=lambda row: row["at"]["time"])
