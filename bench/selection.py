"""Which records are shown: for everything measured the best there is, by machine, threads and instruction set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .records import Case, Entry, Run, Sheet

CLASSES = {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON"}


@dataclass(frozen=True)
class Setting:
    """What must agree before two records may stand in one table. isa "": the machine's widest."""

    device: str
    machine_class: str  # the widest instruction set that was used, or the GPU
    threads: int
    isa: str

    @classmethod
    def of(cls, run: Run) -> Setting:
        """Of a run; ValueError if it was a rehearsal, whose numbers mean nothing."""
        if run.clock == "rehearsal":
            raise ValueError(f"results: run {run.run} is a rehearsal: its numbers mean nothing and go into no table")
        if run.clock == "cuda":
            return cls(run.machine["gpu"]["name"], run.machine["gpu"]["name"], run.threads, "")
        return cls(run.machine["cpu"], CLASSES.get(run.ceiling.get("isa"), "CPU"), run.threads, run.isa or "")

    def __str__(self) -> str:
        cap = f", capped to {self.isa}" if self.isa else ""
        return f"{self.device}, {self.threads} thread{'s' if self.threads > 1 else ''}{cap}"


def best(
    entries: Iterable[Entry], wanted: Callable[[Run, Case | Sheet], bool], enough: int = 1000
) -> dict[Setting, dict[str, Entry]]:
    """The wanted records, by setting and then by workload (or a sheet's name); the setting used last first.

    Of several for one workload a quiet one goes before a disturbed one, a clean commit before a dirty one, a full
    measurement before a quick one, many candidates before few, as far as ``enough``, and then the newest.
    """
    found: dict[Setting, dict[str, Entry]] = {}
    latest: dict[str, str] = {}
    for run, record in entries:
        if wanted(run, record):
            where, name = Setting.of(run), record.workload if isinstance(record, Case) else record.name
            if run.clock == "cuda" and isinstance(record, Case):  # a case beside quick peers, another beside slow ones
                name += record.results[0].candidate
            here = found.setdefault(where, {})
            if name not in here or _rank(run, record, enough) >= _rank(*here[name], enough):
                here[name] = run, record
            latest[where.device] = max(latest.get(where.device, ""), run.time)
    # The machine used last comes first; on it the setting that nothing was taken from, with the most threads.
    order = sorted(found, key=lambda where: (latest[where.device], where.isa == "", where.threads), reverse=True)
    return {where: found[where] for where in order}


def _rank(run: Run, record: Case | Sheet, enough: int) -> tuple[bool, bool, bool, int, str]:
    timed = sum(r.p50_ms is not None for r in record.results) if isinstance(record, Case) else 0
    return record.warning is None, not run.dirty, not run.quick, min(timed, enough), run.time
