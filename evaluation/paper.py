"""``python -m evaluation.paper``: docs/paper.md, the paper's figures beside ours (``make paper, make paper-quick``).

Every row of ours is a record of ``evaluation.scores`` of the checkpoint that is bundled now; a case without one is run,
so an interrupted run goes on. Then what speed costs (``evaluation.pareto``), and the page is written. ``--quick`` runs
one episode of every case instead, into build/paper: it shows that all of it works, and is part of nothing else.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.front_page import digits
from bench.machine import ROOT
from bench.report import rewrite
from bench.tables import NONE, markdown
from diffuser_fast import pretrained
from diffuser_fast.planner.presets import PRESETS

from . import pareto, scores

PAGE, PICTURE = ROOT / "docs" / "paper.md", ROOT / "docs" / "paper.png"
QUICK = ROOT / "build" / "paper"
MARKER = re.compile(r"(<!-- paper:(?P<name>\w+) -->\n).*?(<!-- /paper:(?P=name) -->)", re.DOTALL)
HEAD = ["task", "paper", "ours", "episodes", "command"]


@dataclass(frozen=True)
class Published:
    """A figure of Janner et al. 2022, mean and standard error, and the record that stands beside it, or why none does.

    Locomotion's are of the released README (150 seeds), Maze2D's of table 1, block stacking's of table 3.
    """

    task: str
    score: float
    error: float
    planner: str | None = None
    case: str | None = None
    why_not: str = "not trained here"


_NOT_BODY = "not trained here; data and recipe are"
_BODIES = {
    "halfcheetah": ((42.8, 0.3), (37.7, 0.5), (88.9, 0.3)),
    "hopper": ((74.3, 1.4), (93.6, 0.4), (103.3, 1.3)),
    "walker2d": ((79.6, 0.55), (70.6, 1.6), (106.9, 0.24)),
}
_CUBES = "on another arm: [stacking.md](stacking.md)"
MAZE = "plan once, the paper's controller"
MULTI = "random targets (Multi2D), plan once"
GUIDED = "guided"
ROWS = (
    Published("Maze2D U-Maze", 113.9, 3.1, "maze2d-umaze", MAZE),
    Published("Maze2D Medium", 121.5, 2.7, "maze2d-medium", MAZE, _NOT_BODY),
    Published("Maze2D Large", 123.0, 6.4, "maze2d-large", MAZE, _NOT_BODY),
    Published("Multi2D U-Maze", 128.9, 1.8, "maze2d-umaze", MULTI),
    Published("Multi2D Medium", 127.2, 3.4, "maze2d-medium", MULTI, _NOT_BODY),
    Published("Multi2D Large", 132.1, 5.8, "maze2d-large", MULTI, _NOT_BODY),
    *(
        Published(f"{body} {level}", *figures, f"{body}-{level}", GUIDED, _NOT_BODY)
        for body, levels in _BODIES.items()
        for level, figures in zip(("medium", "medium-replay", "medium-expert"), levels)
    ),
    Published("block stacking, unconditional", 58.7, 2.5, why_not=_CUBES),
    Published("block stacking, conditional", 45.6, 3.1, why_not=_CUBES),
    Published("block rearrangement", 58.9, 3.4, why_not=_CUBES),
)


def ours(row: Published, records: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any] | None:
    """The record that stands beside a figure."""
    return None if row.planner is None else records.get((row.planner, row.case))


def table(records: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Markdown: every figure of the paper, ours or the reason why there is none."""
    lines = []
    for row in ROWS:
        record, paper = ours(row, records), f"{row.score} ± {row.error}"
        if record is None:
            why = row.why_not if row.planner not in pretrained.names() else "not measured yet"
            lines.append([row.task, paper, why, NONE, NONE])
            continue
        r, command = record["result"], record["command"].removesuffix(" --json")
        lines.append([row.task, paper, scores.shown(r), str(r["episodes"]), f"`{command}`"])
    return markdown([HEAD, *lines]).replace("---:", "---")


def ways(records: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Markdown: ways of acting with the planners of bodies, beside the episodes they were trained on."""
    lines = []
    for name in pretrained.names():
        if name.startswith("maze2d-"):
            continue
        anchor = records.get((name, "unguided, one plan"))
        data = _data(name)
        lines.append([name, "the data's episodes", f"{data[0]:.0f} ± {data[1]:.0f}", NONE, f"{data[2]:,}"])
        for case in scores.cases(name):
            record = records.get((name, case))
            if record is None or case.startswith("preset "):
                continue
            r = record["result"]
            apart = None if record is anchor or anchor is None else pareto.paired(record, anchor)
            lines.append([
                name, case, scores.shown(r, "return", 0),
                NONE if apart is None else f"{apart[0]:+.0f} ± {apart[1]:.0f}", str(r["episodes"]),
            ])  # fmt: skip
    head = ["planner", "acting", "return", "less one unguided plan's, start by start", "episodes"]
    return markdown([head, *lines]).replace("---:", "---") if lines else "Nothing measured yet."


def presets(records: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Markdown: the presets of every planner on test seeds, and their difference from the paper's settings."""
    lines = []
    for name in pretrained.names():
        anchor = records.get((name, scores.case_of(name, PRESETS[-1])))
        for preset in PRESETS:
            record = records.get((name, scores.case_of(name, preset)))
            if record is None:
                lines.append([name, preset, "not measured yet", NONE, NONE, NONE, f"`--preset {preset}`"])
                continue
            r = record["result"]
            apart = pareto.paired(record, anchor) if anchor is not None and record is not anchor else None
            lines.append([
                name, preset, scores.shown(r),
                NONE if apart is None else f"{apart[0]:+.1f} ± {apart[1]:.1f}",
                digits(r["call_latency_ms"]["p50"]), str(r["episodes"]),
                f"`{record['command'].removesuffix(' --json')}`",
            ])  # fmt: skip
    head = ["planner", "preset", "score", "return less the paper's", "ms of a call, p50", "episodes", "command"]
    return markdown([head, *lines]).replace("---:", "---")


def draw(records: dict[tuple[str, str], dict[str, Any]], path: Path = PICTURE) -> Path:
    """The paper's figures and ours, with standard errors; what is not trained has none of ours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    for at, row in enumerate(ROWS):
        label = {"paper": "Janner et al. 2022", "ours": "ours"} if not at else {"paper": None, "ours": None}
        axes.errorbar(row.score, at - 0.13, xerr=row.error, fmt="o", color="#7b9ec9", capsize=2, label=label["paper"])
        if (record := ours(row, records)) is not None:
            r = record["result"]
            axes.errorbar(
                r["score"], at + 0.13, xerr=r["standard_error"] or 0, fmt="s", color="#d1495b", capsize=2,
                label=label["ours"],
            )  # fmt: skip
    axes.set(yticks=range(len(ROWS)), yticklabels=[row.task for row in ROWS], xlabel="score", xlim=(0, None))
    axes.invert_yaxis()
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


SECTIONS = {"table": table, "ways": ways, "presets": presets}


def written(text: str, records: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The page with its sections written anew."""
    return MARKER.sub(lambda m: f"{m[1]}\n{SECTIONS[m['name']](records)}\n\n{m[3]}", text)


def report() -> None:
    """Page and pictures, of the records there are."""
    records = scores.newest()
    rewrite(PAGE, written(PAGE.read_text(encoding="utf-8"), records))
    print(f"{draw(records).relative_to(ROOT)}: written")
    pareto.report()
    scores.report()


def quick(episodes: int = 1) -> None:
    """Every case in little, into build/paper."""
    QUICK.mkdir(parents=True, exist_ok=True)
    done = scores.newest(QUICK)
    for name in pretrained.names():
        for case in scores.cases(name):
            if (name, case) not in done:
                options = scores.options_of(name, case)
                options[options.index("--episodes") + 1] = str(episodes)
                scores.append(scores.measure(name, case, options), QUICK)
                print(f"{name}, {case}: done", flush=True)
    records = scores.newest(QUICK)
    (QUICK / "paper.md").write_text(written(PAGE.read_text(encoding="utf-8"), records), encoding="utf-8")
    draw(records, QUICK / "paper.png")
    print(f"{(QUICK / 'paper.md').relative_to(ROOT)}: {episodes} episode of each case, which says nothing")


def main(words: list[str] | None = None) -> None:
    """Run what has no record yet, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.paper", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one episode of every case, into build/paper")
    parser.add_argument("--report", action="store_true", help="only write the page and its pictures")
    parser.add_argument("--workers", type=int, default=1, help="processes; times are then of a machine at work")
    chosen = parser.parse_args(words)
    if chosen.quick:
        quick()
        return
    for name in () if chosen.report else pretrained.names():
        for case in scores.cases(name):
            if (name, case) not in scores.newest():
                scores.append(scores.measure(name, case, scores.options_of(name, case), chosen.workers))
                print(f"{name}, {case}: done", flush=True)
        pareto.main([name, "--workers", str(chosen.workers)])
    report()


def _data(name: str) -> tuple[float, float, int]:
    """Mean return, its standard error and number of the episodes that a bundled planner was trained on."""
    from diffuser_fast import load

    said = load(name).metadata["data"]
    return said["mean_return"], said["standard_error"], said["episodes"]


if __name__ == "__main__":
    main()
