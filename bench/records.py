"""What is measured becomes records: JSON objects, one a line, in files that are only ever appended to.

The dataclasses below are the schema. Each command writes one ``Run``, and then a record for everything it measured.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import machine

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Run:
    """The command and the machine. ceiling: its measured limits (roofline.py), empty on a GPU; machine has "gpu" there.
    quick: shorter than a result deserves. load: the load average of the minute before."""

    run: str
    time: str  # when it began, UTC
    command: str
    commit: str | None
    dirty: bool  # whether tracked files differed from the commit
    clock: str  # "cpu", "cuda" or "rehearsal"
    threads: int
    isa: str | None  # the widest instruction set allowed; None: any
    quick: bool
    load: float | None
    ceiling: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str | None]


@dataclass(frozen=True)
class Result:
    """One candidate on a workload. Times are in milliseconds per call; what was not measured is None.

    why_not: why it was not timed. note: how it was made ready. exactness, deviation, over: see ground_truth.py.
    speedup: how many times faster than the best peer (below 1 it is slower), with its 95 % interval. device_p50_ms: by
    CUDA events, the loop alone. ready_s: to load, compile, export. peak_mib, loads_torch: of its process, when warm.
    """

    candidate: str
    ours: bool
    why_not: str | None = None
    note: str = ""
    exactness: str | None = None
    deviation: float | None = None
    over: float | None = None
    calls: int = 0
    repetitions: int = 0
    min_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    device_p50_ms: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    ready_s: float | None = None
    peak_mib: float | None = None
    loads_torch: bool | None = None


@dataclass(frozen=True)
class Case:
    """A workload through every candidate, in one interleaved measurement. best_peer: the fastest that is not ours.

    flops, weight_bytes: of one call, all trajectories together. others: work of other processes per core meanwhile (0
    to 1); warning: a sentence if that was too much.
    """

    workload: str
    flops: int
    weight_bytes: int
    best_peer: str | None
    others: float | None
    warning: str | None
    results: list[Result]


@dataclass(frozen=True)
class Sheet:
    """Whatever else is measured, as a small table: "tails" or "layers" of a workload; "load", "deadlines", "executor",
    "delays" and "pruning" of real time; "checks", "constants", "sanitizer" or "model" of a GPU.

    columns: heads, with units. rows: texts and numbers, None for what there is not. others, warning: as of a case.
    """

    what: str
    name: str
    columns: list[str]
    rows: list[list[Any]]
    others: float | None = None
    warning: str | None = None

    def column(self, head: str) -> list[Any]:
        """By its head."""
        return [row[self.columns.index(head)] for row in self.rows]


KINDS = {kind.__name__.lower(): kind for kind in (Run, Case, Sheet)}
Entry = tuple[Run, Case | Sheet]  # a record and the run it belongs to


class Log:
    """Appends the records of one run to ``<folder>/<date>-<device>.jsonl``, each as soon as it is known."""

    def __init__(self, folder: str | Path = RESULTS, **fields: Any) -> None:
        now, (head, dirty) = datetime.now(timezone.utc), machine.commit()
        self.run = Run(**{
            "run": uuid.uuid4().hex[:12], "time": now.isoformat(timespec="seconds"), "commit": head, "dirty": dirty,
            "machine": machine.fingerprint(), "versions": machine.versions(), "ceiling": {}, **fields,
        })  # fmt: skip
        device = self.run.machine.get("gpu", {}).get("name") or self.run.machine["cpu"]
        self.path = Path(folder) / f"{now:%Y-%m-%d}-{machine.slug(device)}.jsonl"
        self.records: list[Any] = []
        self.append(self.run)

    def append(self, record: Any) -> Any:
        """One record, on disk when this returns. Folders of this machine are taken out of its texts."""
        fields = {"record": type(record).__name__.lower(), "run": self.run.run, **asdict(record)}
        line = machine.nameless(json.dumps(fields, allow_nan=False))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One write to a file opened for appending: two suites at once interleave lines, never parts of lines.
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, f"{line}\n".encode())
        finally:
            os.close(handle)
        self.records.append(record)
        return record


def read(paths: Iterable[Path] | None = None) -> list[Entry]:
    """All records of these files (default: all there are) with their runs, the oldest run first.

    ValueError names a line that is not a record.
    """
    found, runs = [], {}
    for path in sorted(RESULTS.glob("*.jsonl")) if paths is None else paths:
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            try:
                fields = json.loads(line)
                kind, run = KINDS[fields.pop("record")], fields["run"]
                if kind is Run:
                    runs[run] = Run(**fields)
                    continue
                del fields["run"]
                if kind is Case:
                    fields["results"] = [Result(**result) for result in fields["results"]]
                found.append((runs[run], kind(**fields)))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{Path(path).name}:{number}: no record, or none of a known run: {error}") from None
    return sorted(found, key=lambda entry: entry[0].time)
