"""Records as tables, for the console and for Markdown. No number in a table is typed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .records import Case, Entry, Result, Run, Sheet
from .roofline import weights_gbs
from .selection import best

Table = list[list[str]]  # the first row is the head
NONE, NOISY, NOTHING = "-", "*", "Nothing measured yet."
INTERVAL = 10  # calls of both sides, below which an interval says nothing


def of(record: Case | Sheet, run: Run) -> tuple[str, Table]:
    """One record's title and table, for the console."""
    if isinstance(record, Sheet):
        return f"{record.what}: {record.name}", [record.columns, *([cell(v) for v in row] for row in record.rows)]
    head = ["", "p50 ms", "p90", "p99", "device", "speed-up", "GFLOP/s", "FMA, %", "read, %", "error", "class", "MiB"]
    work = f"{record.flops / 1e9:.3g} GFLOP, {record.weight_bytes / 1e6:.3g} MB of weights"
    return f"{record.workload}: {work}", [head, *(_result(r, record, run) for r in record.results if r.p50_ms)]


def suite(entries: Iterable[Entry], clock: str) -> str:
    """Every workload: p50 of every candidate, what our exact engine makes of it, and how near the limits that is."""

    def table(found: list[Entry]) -> Table:
        timed = [r for _, case in found for r in case.results if r.p50_ms]
        names = list(dict.fromkeys(family(r) for r in sorted(timed, key=lambda r: r.ours)))
        head = ["workload, ms", *names, "over the best peer", "GFLOP", "GFLOP/s", "FMA, %", "weights read, %"]
        return [head, *(_case(case, run, names) for run, case in found)]

    def wanted(run: Run, record: Any) -> bool:
        return run.clock == clock and isinstance(record, Case) and any(r.p50_ms for r in record.results)

    return _sections(entries, wanted, table)


def memory(entries: Iterable[Entry]) -> str:
    """Peak resident memory of each candidate's process, for one plan at a time."""

    def table(found: list[Entry]) -> Table:
        names = list(dict.fromkeys(family(r) for _, case in found for r in case.results if r.peak_mib))
        peaks = [(case.workload, {family(r): r.peak_mib for r in case.results}) for _, case in found]
        return [["MiB", *names], *([name, *(cell(by.get(n), 0) for n in names)] for name, by in peaks)]

    def wanted(run: Run, record: Any) -> bool:
        single = isinstance(record, Case) and record.workload.endswith(("/plan/b1", "/guided/b1"))
        return single and run.clock == "cpu" and any(r.peak_mib for r in record.results)

    return _sections(entries, wanted, table)


def sheets(entries: Iterable[Entry], what: str) -> str:
    """All sheets of one sort."""

    def table(found: list[Entry]) -> Table:
        rows = [[_noted(sheet, sheet.name), *map(cell, row)] for _, sheet in found for row in sheet.rows]
        return [[what, *found[0][1].columns], *rows]

    return _sections(entries, lambda _, record: isinstance(record, Sheet) and record.what == what, table)


def gpu(entries: Iterable[Entry]) -> str:
    """The suite of every GPU, and all else that was found there."""
    parts = suite(entries, "cuda"), *(sheets(entries, what) for what in ("checks", "sanitizer", "constants", "model"))
    return "\n\n".join(part for part in parts if part != NOTHING) or NOTHING


def markdown(table: Table) -> str:
    """The first column left, the others right."""
    rows = [table[0], ["---", *["---:"] * (len(table[0]) - 1)], *table[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def aligned(table: Table) -> list[str]:
    """The same as lines of plain text."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    cells = ((c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))) for row in table)
    return ["  ".join(row).rstrip() for row in cells]


def cell(value: Any, digits: int = 2) -> str:
    """Fixed digits of what is no whole number; a dash for None."""
    return NONE if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def speedup(result: Result, case: Case) -> str:
    """Over the best peer, "5.1x (4.9 to 5.3)", with its interval where both sides have calls enough for one."""
    if result.speedup is None:
        return NONE
    peer = next((r for r in case.results if r.candidate == case.best_peer), result)
    enough = peer is not result and min(result.calls, peer.calls) >= INTERVAL and result.speedup_low is not None
    return f"{result.speedup:.1f}x" + (f" ({result.speedup_low:.1f} to {result.speedup_high:.1f})" if enough else "")


def family(result: Result) -> str:
    """One column for all modes of torch.compile; the record says which was fastest."""
    return "torch.compile" if result.candidate.startswith("torch.compile") else result.candidate


def fastest(results: Iterable[Result]) -> Result | None:
    return min((r for r in results if r.p50_ms), key=lambda r: r.p50_ms, default=None)


def exact(case: Case) -> Result | None:
    """Our fastest of the precision that claims to be exact: no other is named after the backend alone."""
    return fastest(r for r in case.results if r.ours and " " not in r.candidate)


def _shares(result: Result, case: Case, run: Run) -> list[str]:
    """GFLOP/s; percent of the machine's FMA rate; of its reading speed, by weights read once per evaluation."""
    gflops, gbs = case.flops / result.p50_ms * 1e-6, case.weight_bytes / result.p50_ms * 1e-6
    limits = (run.ceiling["gflops"], weights_gbs(run.ceiling)) if run.ceiling else (0, 0)
    shares = (100 * found / limit if limit else None for found, limit in zip((gflops, gbs), limits, strict=True))
    return [cell(gflops, 1), *(cell(share, 0) for share in shares)]


def _result(r: Result, case: Case, run: Run) -> list[str]:
    times = [cell(ms, 3) for ms in (r.p50_ms, r.p90_ms, r.p99_ms, r.device_p50_ms)]
    rest = [f"{r.deviation:.1e}", r.exactness, cell(r.peak_mib, 0)]
    return [r.candidate, *times, speedup(r, case), *_shares(r, case, run), *rest]


def _case(case: Case, run: Run, names: list[str]) -> list[str]:
    by = [fastest(r for r in case.results if family(r) == name) for name in names]
    ours = exact(case)
    shares = [NONE] * 5 if ours is None else [
        speedup(ours, case), f"{case.flops / 1e9:.3g}", *_shares(ours, case, run)
    ]  # fmt: skip
    return [_noted(case, case.workload), *map(_time, by), *shares]


def _time(result: Result | None) -> str:
    """Milliseconds; the device's own, if it has a clock; the class where it is not exact."""
    if result is None:
        return NONE
    device = f", device {cell(result.device_p50_ms)}" if result.device_p50_ms else ""
    return cell(result.p50_ms) + device + ("" if result.exactness == "exact" else f" ({result.exactness})")


def _noted(record: Case | Sheet, name: str) -> str:
    return f"{name} {NOISY}" if record.warning else name


def _sections(entries: Iterable[Entry], wanted: Callable[..., bool], table: Callable[[list[Entry]], Table]) -> str:
    def parts() -> Iterator[str]:
        for where, found in best(entries, wanted).items():
            yield f"**{where}.** {when(found.values())}\n\n{markdown(table(list(found.values())))}"

    return "\n\n".join(parts()) or NOTHING


def when(found: Iterable[Entry], limits: bool = True) -> str:
    """Dates and commits behind a table, and the machine's limits."""
    found = list(found)
    runs = [run for run, _ in found]
    dates = sorted({run.time[:10] for run in runs})
    commits = sorted({(run.commit or "unknown")[:8] + ("+" if run.dirty else "") for run in runs})
    last = max(runs, key=lambda run: run.time)
    text = f"Measured {' and '.join(dates)} at {', '.join(commits)}"
    if limits and (c := last.ceiling):
        text += f"; limits: {c['gflops']:.0f} GFLOP/s ({c['isa']}), {weights_gbs(c):.0f} GB/s from 16 MiB"
    if last.clock == "cuda":
        text += f"; driver {last.machine['gpu'].get('driver_version')}, torch {last.versions['torch']}"
    noisy = any(record.warning for _, record in found)
    return f"{text}." + (f" {NOISY} The machine was not quiet: do not quote these." if noisy else "")
