"""``python -m bench.plots``: latency against B, H and threads, and the roofline, as PNG files made from the rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import machine
from .choice import Row, Setting, best
from .report import PLOTS
from .rows import read

WIDTH, HEIGHT = 7.5, 4.5
OURS = {"linewidth": 2.6, "zorder": 3}  # against thinner lines of the peers


def draw(rows: Iterable[Row], folder: Path = PLOTS) -> list[Path]:
    """All plots that the rows are enough for, on the machine measured last."""
    rows = list(rows)
    made = [*_latencies(rows, folder), *_threads(rows, folder), *_rooflines(rows, folder)]
    return [path for path in made if path is not None]


def _latencies(rows: list[Row], folder: Path) -> Iterable[Path | None]:
    found = best(rows, "timing")
    if not found:
        return
    where, timed = next(iter(found.items()))
    timed = [row for row in timed.values() if row["p50_ms"] is not None]
    for kind, network in dict.fromkeys((row["kind"], row["network"]) for row in timed):
        chosen = [row for row in timed if (row["kind"], row["network"]) == (kind, network)]
        yield _curves(folder, where, f"{network} {kind}", "B, plans at once", chosen, lambda row: row["batch"])
    series = [r for r in timed if r["network"].partition("@")[0] == "hopper" and (r["kind"], r["batch"]) == ("step", 1)]
    yield _curves(folder, where, "hopper step against H", "H, horizon", series, lambda row: row["horizon"])


def _threads(rows: list[Row], folder: Path) -> Iterable[Path | None]:
    found = {where: by for where, by in best(rows, "timing").items() if not where.isa}
    if not found:
        return
    last = next(iter(found))
    here = [row for where, by in found.items() if where.cpu == last.cpu for row in by.values()]
    for workload in dict.fromkeys(row["workload"] for row in here):
        chosen = [row for row in here if row["workload"] == workload and row["p50_ms"] is not None]
        title = f"{workload.replace('/', ' ')} against threads"
        yield _curves(folder, last, title, "threads", chosen, lambda row: row["at"]["threads"])


def _curves(
    folder: Path, where: Setting, title: str, label: str, rows: list[Row], x: Callable[[Row], int]
) -> Path | None:
    """p50 against x, a line per candidate; None if there are not two points of any."""
    lines: dict[str, list[Row]] = {}
    for row in sorted(rows, key=x):
        lines.setdefault(row["candidate"], []).append(row)
    if max((len({x(row) for row in line}) for line in lines.values()), default=0) < 2:
        return None
    figure, axes = _figure()
    for name, line in lines.items():
        style = OURS if line[0]["ours"] else {}
        axes.plot([x(row) for row in line], [row["p50_ms"] for row in line], marker="o", label=name, **style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({x(row) for row in rows})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set(xlabel=label, ylabel="p50 latency, ms", title=f"{title}\n{where}")
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize="small")
    return _save(figure, folder, where, title)


def _rooflines(rows: list[Row], folder: Path) -> Iterable[Path | None]:
    found = best(rows, "layer")
    if not found:
        return
    where, by = next(iter(found.items()))
    for workload in dict.fromkeys(row["workload"] for row in by.values()):
        ops = [row for row in by.values() if row["workload"] == workload and row["gflops"] > 0]
        ceiling = ops[0]["at"]["ceiling"]
        figure, axes = _figure()
        _roof(axes, ceiling, [row["intensity"] for row in ops])
        largest = max(row["us"] for row in ops)
        for kind in dict.fromkeys(row["op"] for row in ops):
            of_kind = [row for row in ops if row["op"] == kind]
            sizes = [20 + 180 * row["us"] / largest for row in of_kind]
            at = [(row["intensity"], row["percent"] / 100 * row["bound_gflops"]) for row in of_kind]
            axes.scatter(*zip(*at, strict=True), s=sizes, alpha=0.6, label=kind, zorder=3)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set(xlabel="FLOP per byte of weights (or operands)", ylabel="GFLOP/s, products with padding left out")
        axes.set_title(f"every op of {workload}; area: time\n{where}")
        axes.grid(True, which="both", alpha=0.25)
        axes.legend(fontsize="small", markerscale=0.6)
        yield _save(figure, folder, where, f"roofline {workload.replace('/', ' ')}")


def _roof(axes: Any, ceiling: dict[str, Any], intensities: list[float]) -> None:
    """min(FMA rate, intensity times reading speed), for 16 MiB, the size of a network's weights."""
    peak, speed = ceiling["gflops"], ceiling["gbs"]["16"]
    low = min(*intensities, peak / speed / 2) / 2
    high = max(*intensities, 4 * peak / speed) * 2
    axes.plot([low, peak / speed, high], [low * speed, peak, peak], color="black", linewidth=1.5)
    axes.annotate(f"{peak:.0f} GFLOP/s", (high, peak), ha="right", va="bottom")
    axes.annotate(f"{speed:.0f} GB/s", (low, low * speed), ha="left", va="bottom")


def _figure() -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Any, folder: Path, where: Setting, title: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = machine.slug(f"{where.cpu} {title}") + (f"-{where.isa}" if where.isa else "")
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path


if __name__ == "__main__":
    drawn = draw(read())
    print("\n".join(str(path.name) for path in drawn) or "no rows to draw")
    sys.exit(0)
