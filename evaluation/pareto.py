"""``python -m evaluation.pareto PLANNER``: what speed costs in score.

Each setting of sampler, rows, warm start, candidates, guide and precision is a command that a person would type, on
episodes that no result is ever told of (seeds from 10,000 on). Its record, with score, standard error and milliseconds,
goes beside those of ``evaluation.scores``. A setting that has its record already is not run again, so an interrupted
run goes on. ``--times`` measures milliseconds alone, all settings in turn, which a quiet machine should do; its sheet
goes into ``bench/results`` and stands before the times of the records. ``--report`` only writes the tables and the
pictures of docs/paper.md anew.
"""

from __future__ import annotations

import argparse
import re
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.front_page import digits
from bench.machine import ROOT, Quiet, usable_cores
from bench.recording import recording
from bench.records import RESULTS, Entry, Sheet, read
from bench.report import rewrite
from bench.tables import NONE, markdown
from diffuser_fast import load, pretrained
from diffuser_fast.cli.options import make_planner
from diffuser_fast.cli.rollout import command as rollout

from . import scores

FIRST = 10_000  # the first seed of validation
EPISODES = {"maze": 50, "body": 12}
MAZES = {
    "DDPM, all rows": [],
    "the same, float32-close": ["--precision", "float32-close"],
    "the same, bf16": ["--precision", "bf16"],
    "DDIM, 32 rows": ["--sampler", "ddim", "--n-steps", "32"],
    "DDIM, 16 rows": ["--sampler", "ddim", "--n-steps", "16"],
    "DDIM, 8 rows": ["--sampler", "ddim", "--n-steps", "8"],
    "DDIM, 4 rows": ["--sampler", "ddim", "--n-steps", "4"],
    "DDIM, 2 rows": ["--sampler", "ddim", "--n-steps", "2"],
    "DDIM, 16 rows, eta 1": ["--sampler", "ddim", "--n-steps", "16", "--eta", "1"],
    "DDIM, 8 rows, eta 1": ["--sampler", "ddim", "--n-steps", "8", "--eta", "1"],
    "DDIM, 4 rows, eta 1": ["--sampler", "ddim", "--n-steps", "4", "--eta", "1"],
    "DPM-Solver++, 16 rows": ["--sampler", "dpm_solver_pp_2m", "--n-steps", "16"],
    "DPM-Solver++, 8 rows": ["--sampler", "dpm_solver_pp_2m", "--n-steps", "8"],
    "DPM-Solver++, 4 rows": ["--sampler", "dpm_solver_pp_2m", "--n-steps", "4"],
}
_INT8 = ["--precision", "int8", "--batch-size"]
BODIES = {  # from the cheapest on
    "1 plan, unguided, warm 5": [*_INT8, "1", "--guide", "none", "--warm-start", "5"],
    "1 plan, unguided": [*_INT8, "1", "--guide", "none"],
    "16 plans, ranked, DDIM 5 rows": [*_INT8, "16", "--guide", "rank", "--sampler", "ddim", "--n-steps", "5"],
    "4 plans, ranked": [*_INT8, "4", "--guide", "rank"],
    "8 plans, ranked": [*_INT8, "8", "--guide", "rank"],
    "16 plans, guided, warm 5": [*_INT8, "16", "--warm-start", "5"],
    "16 plans, ranked": [*_INT8, "16", "--guide", "rank"],
    "16 plans, guided once": [*_INT8, "16", "--guide-steps", "1"],
    "16 plans, guided": [*_INT8, "16"],
    "16 plans, guided, bf16": ["--precision", "bf16", *_INT8[2:], "16"],
    "64 plans, ranked": [*_INT8, "64", "--guide", "rank"],
    "64 plans, guided": [*_INT8, "64"],
}
PAGE = ROOT / "docs" / "paper.md"
MARKER = re.compile(r"(<!-- pareto:(?P<name>[\w-]+) -->\n).*?(<!-- /pareto:(?P=name) -->)", re.DOTALL)
ANCHORS = {"maze": "DDPM, all rows", "body": "16 plans, guided"}  # differences are from these
HEAD = ["setting", "score", "return, start by start, less that of *{}*", "ms of a plan, p50", "options"]
COLUMNS = ["setting", "p50, ms", "p90, ms", "p99, ms"]
CALLS = 40  # of each setting, in turn


def settings(name: str) -> dict[str, list[str]]:
    """What is tried of a bundled planner: name of the setting -> options of ``rollout``."""
    return MAZES if name.startswith("maze2d-") else BODIES


def options_of(name: str, setting: str, episodes: int | None = None) -> list[str]:
    """The whole command's, with the episodes that choices are made on. A maze's are planned one by one."""
    maze = name.startswith("maze2d-")
    count = episodes or EPISODES["maze" if maze else "body"]
    seeds = ["--seed", str(FIRST), "--episodes", str(count), *(["--together", "1"] if maze else [])]
    return [*settings(name)[setting], *seeds]


def paired(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float] | None:
    """Mean and standard error of the difference in return, over the episodes that both have; None for fewer than 2."""
    found = [dict(enumerate(r["result"].get("returns", ()), r["result"].get("seed", 0))) for r in (one, other)]
    both = sorted(found[0].keys() & found[1].keys())
    if len(both) < 2:
        return None
    apart = np.array([found[0][seed] - found[1][seed] for seed in both])
    return float(apart.mean()), float(apart.std(ddof=1) / len(apart) ** 0.5)


def times(name: str, only: str, calls: int, threads: int) -> Sheet:
    """Milliseconds of one plan, of every setting in turn."""
    chosen = [s for s in settings(name) if only in s]
    planners = {s: planner_of(name, settings(name)[s], threads) for s in chosen}
    taken: dict[str, list[float]] = {s: [] for s in chosen}
    normalizer = load(name).normalizers.observations
    middle = normalizer.unnormalize(np.zeros(normalizer.dim))
    conditions = {0: middle, -1: middle} if name.startswith("maze2d-") else {0: middle}
    with Quiet() as quiet:
        for call in range(calls + 3):  # the first ones wake caches and threads
            for setting, planner in planners.items():
                begun = time.perf_counter()
                planner.plan(conditions, warm=planner.warm_start is not None)
                if call >= 3:
                    taken[setting].append(1e3 * (time.perf_counter() - begun))
    rows = [[s, *(float(np.percentile(ms, p)) for p in (50, 90, 99))] for s, ms in taken.items()]
    return Sheet("pareto", name, COLUMNS, rows, quiet.others, quiet.warning)


def table(name: str, entries: list[Entry] | None = None) -> str:
    """Markdown: score, its error and milliseconds of every setting that has a record, the best score first."""
    anchor = ANCHORS["maze" if name.startswith("maze2d-") else "body"]
    rows, first = [], scores.newest().get((name, scores.TRIED + anchor))
    for setting, record, ms, apart in points(name, entries):
        less = paired(record, first) if first is not None and setting != anchor else None
        words, taken = shlex.join(settings(name)[setting]), digits(ms) + ("" if apart else "~")
        shown = NONE if less is None else f"{less[0]:+.1f} ± {less[1]:.1f}"
        rows.append([setting, scores.shown(record["result"]), shown, taken, f"`{words}`" if words else NONE])
    if not rows:
        return f"Nothing tried yet (`python -m evaluation.pareto {name}`)."
    counts = sorted({r["result"]["episodes"] for _, r, _, _ in points(name, entries)})
    seeds = f"seeds from {FIRST}, {' and '.join(map(str, counts))} episodes each"
    note = "" if all(apart for *_, apart in points(name, entries)) else (
        " `~`: of the episodes themselves, on a machine that had other work.")  # fmt: skip
    body = markdown([[head.format(anchor) for head in HEAD], *rows]).replace("---:", "---")
    picture = f"![Score against milliseconds](pareto-{name}.png)"
    return f"`python -m evaluation.pareto {name}`: {seeds}.{note}\n\n{body}\n\n{picture}"


def points(name: str, entries: list[Entry] | None = None) -> list[tuple[str, dict[str, Any], float, bool]]:
    """Setting, record, milliseconds, and whether these were measured apart from the episodes; the best score first."""
    found, apart = [], {}
    for run, sheet in read() if entries is None else entries:
        if isinstance(sheet, Sheet) and (sheet.what, sheet.name) == ("pareto", name) and not run.dirty:
            apart |= {row[0]: row[1] for row in sheet.rows}
    records = scores.newest()
    for setting in settings(name):
        if (record := records.get((name, scores.TRIED + setting))) is not None:
            ms = apart.get(setting, record["result"]["call_latency_ms"]["p50"])
            found.append((setting, record, ms, setting in apart))
    return sorted(found, key=lambda point: -point[1]["result"]["score"])


def draw(name: str, path: Path | None = None) -> Path | None:
    """Score against milliseconds, with standard errors; the settings that nothing beats in both are joined."""
    from matplotlib.figure import Figure

    found = points(name)
    if not found:
        return None
    path = path or ROOT / "docs" / f"pareto-{name}.png"
    figure = Figure(figsize=(8.5, 5), dpi=110, layout="constrained")
    axes, front = figure.subplots(), []
    for at, (setting, record, ms, _) in enumerate(sorted(found, key=lambda point: point[2])):
        r = record["result"]
        axes.errorbar(ms, r["score"], r["standard_error"] or 0, fmt="o", color="#d1495b", ecolor="#d8a0a8", capsize=2)
        axes.annotate(setting, (ms, r["score"]), (4, -10 if at % 2 else 5), textcoords="offset points", fontsize=7)
        if not front or r["score"] > front[-1][1]:
            front.append((ms, r["score"]))
    axes.step(*zip(*front, strict=True), where="post", color="#7b9ec9", zorder=0)
    axes.set(xscale="log", xlabel="milliseconds of a plan, median", ylabel="score on D4RL's scale", title=name)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


def report() -> None:
    """The sections of the page, and the pictures."""
    names = pretrained.names()
    text = PAGE.read_text(encoding="utf-8")
    rewrite(PAGE, MARKER.sub(lambda m: f"{m[1]}\n{table(m['name'])}\n\n{m[3]}", text))
    for path in filter(None, map(draw, names)):
        print(f"{path.relative_to(ROOT)}: written")


def main(words: list[str] | None = None) -> None:
    """Run what has no record yet, then report."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.pareto", description=__doc__.splitlines()[0])
    parser.add_argument("planner", choices=pretrained.names())
    parser.add_argument("--only", default="", help="settings whose name contains this")
    parser.add_argument("--episodes", type=int, help="of each setting (default: 50 in a maze, 12 of a body)")
    parser.add_argument("--workers", type=int, default=1, help="processes; times are then of a machine at work")
    parser.add_argument("--times", action="store_true", help="milliseconds of each setting instead, in turn, recorded")
    parser.add_argument("--calls", type=int, default=CALLS, help="of --times, each setting")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of --times")
    parser.add_argument("--results", metavar="FOLDER", default=RESULTS, help="of the sheets")
    parser.set_defaults(record=True)
    parser.add_argument("--report", action="store_true", help="only write the tables and the pictures")
    chosen = parser.parse_args(words)
    name = chosen.planner
    if chosen.times:
        with recording("evaluation.pareto", words, chosen.threads, chosen) as kept:
            kept(times(name, chosen.only, chosen.calls, chosen.threads))
    elif not chosen.report:
        for setting in settings(name):
            if chosen.only not in setting or (name, scores.TRIED + setting) in scores.newest():
                continue
            options = options_of(name, setting, chosen.episodes)
            record = scores.measure(name, scores.TRIED + setting, options, chosen.workers)
            scores.append(record)
            r = record["result"]
            print(f"{setting}: {scores.shown(r)}", flush=True)
    report()


def planner_of(name: str, options: list[str], threads: int) -> Any:
    """As the command makes it."""
    words = [name, *options, "--threads", str(threads)]
    with rollout.make_context("rollout", words) as context:
        given = dict(context.params)
    for own in ("env", "episodes", "replan", "together", "workers", "cluster", "cluster_options", "folder", "gif"):
        given.pop(own)
    given.pop("as_json")
    return make_planner(**given)


if __name__ == "__main__":
    main()
