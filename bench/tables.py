"""Tables of Markdown from rows. No number in a table is typed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from diffuser_fast.settings import ISAS

from .choice import Row, Setting, best
from .screen import NONE, number, percent
from .workloads import ladder as workloads

NOISY = "*"


def ladder(rows: Iterable[Row]) -> str:
    """Every workload: p50 of every candidate, and what our fastest makes of it."""
    return _by_setting(rows, "timing", _ladder)


def summary(rows: Iterable[Row]) -> str:
    """The same for a few workloads, on the machine and in the setting measured last."""
    names = workloads().summary
    chosen = [row for row in rows if row["row"] == "timing" and row["workload"] in names]
    chosen = [row for row in chosen if row["candidate"] != "reference"]  # a yardstick, not a contender
    chosen.sort(key=lambda row: names.index(row["workload"]))
    first = next(iter(best(chosen, "timing").items()), None)
    if first is None:
        return _nothing("timing")
    return "\n".join([_heading(first[0], list(first[1].values())), "", *_ladder(list(first[1].values()))])


def tails(rows: Iterable[Row]) -> str:
    """Control loops."""

    def table(found: list[Row]) -> Iterator[str]:
        yield from _head("control loop", "engine", "threads", "calls", "p50 ms", "p99", "p99.9", "slowest")
        for row in found:
            times = [number(row[name], 2) for name in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")]
            yield _line(_noted(row), row["candidate"], row["threads"], row["calls"], *times)

    return _by_setting(rows, "tail", table)


def memory(rows: Iterable[Row]) -> str:
    """Peak resident memory of a process of its own."""

    def table(found: list[Row]) -> Iterator[str]:
        yield from _head("workload", "candidate", "peak MiB", "loads torch")
        for row in found:
            if row["why_not"] is None:
                torch = "yes" if row["torch_loaded"] else "no"
                yield _line(row["workload"], row["candidate"], number(row["peak_rss_mib"], 0), torch)

    return _by_setting(rows, "memory", table)


def layers(rows: Iterable[Row]) -> str:
    """Our engine's ops by class: share of the time, rate, and how near to its roof each class runs."""

    def table(found: list[Row]) -> Iterator[str]:
        yield from _head("workload", "class of op", "ops", "share of time", "GFLOP/s", "of its roof")
        groups: dict[tuple[str, str], list[Row]] = {}
        total: dict[str, float] = {}
        for row in found:
            groups.setdefault((row["workload"], _class(row)), []).append(row)
            total[row["workload"]] = total.get(row["workload"], 0.0) + row["us"]
        for (workload, name), ops in groups.items():
            us, flops = sum(r["us"] for r in ops), sum(r["flops"] for r in ops)
            at_roof = sum(r["percent"] / 100 * r["us"] for r in ops)
            share = percent(100 * us / total[workload])
            yield _line(workload, name, len(ops), share, number(flops / us * 1e-3, 1), percent(100 * at_roof / us))

    return _by_setting(rows, "layer", table)


def _ladder(found: list[Row]) -> Iterator[str]:
    workloads = list(dict.fromkeys(row["workload"] for row in found))
    names = list(dict.fromkeys(row["candidate"] for row in found if row["p50_ms"] is not None))
    names.sort(key=lambda name: next(row["ours"] for row in found if row["candidate"] == name))
    by = {(row["workload"], row["candidate"]): row for row in found}
    yield from _head("workload", "GFLOP", *names, "exact, best of ours", "GFLOP/s", "FMA", "weights read")
    for workload in workloads:
        here = {name: by[workload, name] for name in names if by.get((workload, name), {}).get("p50_ms") is not None}
        if not here:
            continue
        ours = min(filter(_is_float32, here.values()), key=lambda row: row["p50_ms"], default=None)
        cells = [_time(here[name]) if name in here else NONE for name in names]
        rates = [NONE] * 4 if ours is None else [
            _faster(ours), number(ours["gflops"], 1), percent(ours["fma_percent"]), percent(ours["bandwidth_percent"])
        ]  # fmt: skip
        some = next(iter(here.values()))
        yield _line(_noted(some), f"{some['flops'] / 1e9:.3g}", *cells, *rates)


def _is_float32(row: Row) -> bool:
    """Ours, in the precision that claims to be exact: no other is named after the backend."""
    return row["ours"] and all(word in ISAS for word in row["candidate"].split()[1:])


def _time(row: Row) -> str:
    """Milliseconds, the class where it is not exact, and of ours how many times faster than the best peer."""
    mark = "" if row["exactness"] == "exact" else f" ({row['exactness']})"
    ratio = f" {row['speedup']:.1f}x" if row["ours"] and row["speedup"] and row["candidate"] != "reference" else ""
    return f"{number(row['p50_ms'], 2)}{ratio}{mark}"


def _faster(row: Row) -> str:
    if row["speedup"] is None:
        return NONE
    if row["speedup_low"] is None:
        return f"{row['speedup']:.1f}x"
    return f"{row['speedup']:.1f}x ({row['speedup_low']:.1f} to {row['speedup_high']:.1f})"


def _class(row: Row) -> str:
    """A convolution's class is its taps and its resampling; other ops are named by their kind."""
    words = row["shape"].split()[1:]
    kind = row["op"].replace("conv_block", "conv")
    return " ".join([kind, *(w for w in words if not w.startswith("H"))])


def _noted(row: Row) -> str:
    return row["workload"] + (f" {NOISY}" if row.get("warning") else "")


def _by_setting(rows: Iterable[Row], kind: str, table: Callable[[list[Row]], Iterator[str]]) -> str:
    found = best(rows, kind)
    if not found:
        return _nothing(kind)
    parts = [[_heading(s, list(by.values())), "", *table(list(by.values()))] for s, by in found.items()]
    return "\n\n".join("\n".join(part) for part in parts)


def _heading(where: Setting, found: list[Row]) -> str:
    runs: dict[str, Any] = {row["run"]: row["at"] for row in found}
    dates = sorted({run["time"][:10] for run in runs.values()})
    commits = sorted({(run["commit"] or "unknown")[:8] + ("+" if run["dirty"] else "") for run in runs.values()})
    last = max(runs.values(), key=lambda run: run["time"])
    c = last["ceiling"]
    isa = f" ({c['isa']})" if c["how"] == "probe.c" else f" ({c['how']})"
    text = (
        f"**{where}.** Measured {' and '.join(dates)} at {', '.join(commits)}; the machine's own limits: "
        f"{c['gflops']:.0f} GFLOP/s{isa}, {c['gbs']['16']:.0f} GB/s from 16 MiB."
    )
    if any(row.get("warning") for row in found):
        text += f" {NOISY} The machine was not quiet: do not quote these."
    return text


def _head(*cells: str) -> Iterator[str]:
    yield _line(*cells)
    yield _line("---", *["---:"] * (len(cells) - 1))


def _line(*cells: Any) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _nothing(kind: str) -> str:
    return f"No {kind} rows yet."
