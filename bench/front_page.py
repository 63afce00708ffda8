"""The front page: whole plans on every class of machine, as small tables and one picture. Clean commits only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .machine import ROOT, whole
from .records import Case, Entry, Run, Sheet
from .selection import Setting, best
from .tables import NONE, NOTHING, exact, family, fastest, markdown, when
from .workloads import workloads

PICTURE = ROOT / "docs" / "latency.png"
HEAD = [
    "task", "torch eager, ms", "best other engine, ms", "ours, ms", "ours, p99 ms", "plans per second", "close, ms",
    "fast, ms",
]  # fmt: skip
ENOUGH = 4  # candidates, of a comparison that goes before a newer one
COLORS = {"torch eager": "#b0b0b0", "best other engine": "#7b9ec9", "ours": "#d1495b"}


@dataclass(frozen=True)
class Line:
    """A task of the front page. Milliseconds per plan, medians; "best of 64" is one plan. None: not measured.

    ours, p99: of the exact precision. close, fast: the fastest of ours of at least this class, and its precision.
    """

    task: str
    eager: float | None
    other: float | None
    engine: str  # whose the other is
    ours: float
    p99: float | None
    close: tuple[float, str] | None = None
    fast: tuple[float, str] | None = None

    @property
    def cells(self) -> list[str]:
        """As ``HEAD``."""
        other = f"{digits(self.other)} ({self.engine})" if self.other else NONE
        rest = map(digits, (self.ours, self.p99, 1e3 / self.ours))
        narrower = (f"{digits(one[0])} ({one[1]})" if one else NONE for one in (self.close, self.fast))
        return [self.task, digits(self.eager), other, *rest, *narrower]


def lines(entries: Iterable[Entry]) -> dict[Setting, tuple[list[Line], list[Entry]]]:
    """One table for every class of machine, with the entries behind it; what a dirty tree measured is refused."""
    found: dict[str, tuple[Setting, list[Line], list[Entry]]] = {}

    def wanted(run: Run, record: Case | Sheet) -> bool:
        return isinstance(record, Case) and not run.dirty

    for where, by_name in best(entries, wanted, ENOUGH).items():
        by = {entry[1].workload: entry for entry in by_name.values() if exact(entry[1])}
        shown = {task: by[name] for task, name in workloads().summary.items() if name in by}
        if shown and where.machine_class not in found:
            made = [_line(task, case) for task, (_, case) in shown.items()]
            found[where.machine_class] = where, made, list(shown.values())
    return {where: (made, behind) for where, made, behind in found.values()}


def refused(entries: Iterable[Entry]) -> list[str]:
    """The runs of the front page's workloads that are not shown because tracked files differed from the commit."""
    names = set(workloads().summary.values())
    dirty = {r.run: r for r, record in entries if r.dirty and isinstance(record, Case) and record.workload in names}
    return [f"refused: run {run.run} of {run.time[:10]}: it was measured in a dirty tree" for run in dirty.values()]


def summary(entries: Iterable[Entry]) -> str:
    """Markdown: the picture, and a table for every class."""
    parts = []
    for where, (made, behind) in lines(entries).items():
        how = f"{where}" + (f"; {held(where.isa)}" if where.isa else "")
        title = f"**{where.machine_class}** ({how}). {when(behind, limits=False)}"
        parts.append(f"{title}\n\n{markdown([HEAD, *(line.cells for line in made)])}")
    link = f"![Milliseconds per plan]({PICTURE.relative_to(ROOT).as_posix()})"
    return "\n\n".join([*parts, link]) if parts else NOTHING


def held(isa: str) -> str:
    """How a machine that can do more was held to an instruction set."""
    return (
        f"what it has beyond that is hidden from all engines by `bench/cap.c`, from ours by `DIFFUSER_FAST_ISA={isa}`"
    )


def draw(entries: Iterable[Entry], path: Path = PICTURE) -> None:
    """Milliseconds per plan, by class and task: dots, for a logarithmic axis has no zero where bars could begin.

    The file holds the digest of the tables that it shows.
    """
    from matplotlib.figure import Figure

    entries = list(entries)
    found = {where.machine_class: made for where, (made, _) in lines(entries).items()}
    if not found:
        return
    tasks = [task for task in workloads().summary if any(line.task == task for made in found.values() for line in made)]
    figure = Figure(figsize=(2.6 + 3.6 * len(found), 1.4 + 0.45 * len(tasks)), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (title, made) in zip(panels, found.items(), strict=True):
        at = {line: tasks.index(line.task) for line in made}
        for line, y in at.items():
            axes.hlines(y, line.ours, max(line.eager or 0, line.other or 0, line.ours), color="#d0d0d0", zorder=0)
        for (label, color), name in zip(COLORS.items(), ("eager", "other", "ours"), strict=True):
            dots = [(getattr(line, name), y) for line, y in at.items() if getattr(line, name)]
            axes.scatter([x for x, _ in dots], [y for _, y in dots], color=color, label=label)
            for x, y in dots:
                at_dot = (0, -13 if name == "other" else 6)  # near dots have their numbers above and below
                axes.annotate(digits(x), (x, y), at_dot, textcoords="offset points", ha="center", fontsize=8)
        axes.set(xscale="log", yticks=range(len(tasks)), yticklabels=tasks, title=title)
        axes.set_xlabel("milliseconds per plan, median")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(len(tasks) - 0.5, -0.6)
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(COLORS), fontsize=8, frameon=False)
    with whole(path) as part:
        figure.savefig(part, format="png", metadata={"Source": digest(entries), "Software": None})


def digest(entries: Iterable[Entry]) -> str:
    """Of the tables: in the picture's metadata, so that an old picture is found out."""
    return hashlib.sha256(summary(entries).encode()).hexdigest()


def digits(value: float | None) -> str:
    """Three significant digits, and never an exponent."""
    if value is None:
        return NONE
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _line(task: str, case: Case) -> Line:
    ours, eager = exact(case), next((r.p50_ms for r in case.results if r.candidate == "torch eager"), None)
    other = fastest(r for r in case.results if not r.ours and not r.candidate.startswith("torch eager"))
    classes = [_narrower(case, classes) for classes in (("exact", "close"), ("exact", "close", "fast"))]
    line = (task, eager, other and other.p50_ms, family(other) if other else "", ours.p50_ms, ours.p99_ms)
    return Line(*line, *classes)


def _narrower(case: Case, classes: tuple[str, ...]) -> tuple[float, str] | None:
    """The fastest of our answers that were judged to be of these classes; None if only the exact one was measured."""
    ours = [r for r in case.results if r.ours and r.p50_ms and r.exactness in classes]
    if all(" " not in r.candidate for r in ours):
        return None
    found = fastest(ours)
    return found.p50_ms, found.candidate.partition(" ")[2] or "float32"
