"""``python -m evaluation.stacking PLANNER``: block stacking in a simulation, as in section 5.3 of the paper.

Three plans in a row, of a planner that was trained on none of the tasks; what was placed is judged in the simulation.
Beside it are the same planner without a guide, the oracle that made the data, and the oracle's own states followed by
the controller, which is what plans could reach. ``--record`` appends to ``evaluation/results``, ``--report`` writes the
table of docs/stacking.md. Settings are chosen on seeds from 10,000 on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench.machine import ROOT, commit, fingerprint
from bench.tables import markdown
from diffuser_fast import load
from diffuser_fast.control.stacking import ACTING, BATCH, GUIDE, TASKS, WEIGHT, Stacker, replayed, rollout_stacking
from diffuser_fast.core.whole_file import whole_file
from diffuser_fast.envs.raster import write_gif
from diffuser_fast.envs.stacking_picture import film

from .scores import FOLDER, append, shown

PAGE = ROOT / "docs" / "stacking.md"
TABLE = re.compile(r"(<!-- stacking -->\n).*?(<!-- /stacking -->)", re.DOTALL)
PAPER = {"unconditional": "58.7 ± 2.5", "conditional": "45.6 ± 3.1", "rearrangement": "58.9 ± 3.4"}
HEAD = ["task", "acting", "score", "three of three", "episodes", "command"]
REPLAY = "replay"
CHOSEN_ON = 10_000  # settings are chosen on seeds from here on, and the table has none of them


def measured(options: argparse.Namespace, task: str) -> dict[str, Any]:
    """What one command says of one task."""
    if options.acting == REPLAY:
        found = replayed(episodes=options.episodes, seed=options.seed)
        score, n = 100 * sum(found) / len(found), len(found)
        error = (score * (100 - score) / (n - 1)) ** 0.5 if n > 1 else None
        return {"task": task, "acting": REPLAY, "episodes": n, "seed": options.seed, "score": score,
                "standard_error": error, "placements": [int(one) for one in found]}  # fmt: skip
    stacker = None
    if options.acting != "oracle":
        stacker = Stacker(
            load(options.planner), task, guided=options.acting == "guided", guide=replace(GUIDE, scale=options.scale),
            weight=options.weight, batch_size=options.batch_size, precision=options.precision, threads=options.threads,
        )  # fmt: skip
    found = rollout_stacking(stacker, task, episodes=options.episodes, seed=options.seed)
    if options.gif:
        if stacker is None:
            raise ValueError("--gif: the oracle has no plan to show")
        write_gif(options.gif, film(found.states, found.plans), fps=20)
    return found.summary()


def table(folder: Path = FOLDER) -> str:
    """Markdown: the newest record of each task and way of acting, the paper's figure under each task."""
    newest = {}
    for path in sorted(folder.glob("*.jsonl")):
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            if record["planner"] == "stacking" and not record["dirty"] and record["result"]["seed"] < CHOSEN_ON:
                newest[record["result"]["task"], record["result"]["acting"]] = record
    rows = [HEAD]
    for task in ("one placement", *TASKS):
        for acting in (*ACTING, REPLAY):
            if (record := newest.get((task, acting))) is not None:
                r = record["result"]
                whole = "-" if acting == REPLAY else f"{sum(n == 3 for n in r['placements']) / r['episodes']:.0%}"
                command = f"`{record['command'].removesuffix(' --json').removesuffix(' --record')}`"
                rows.append([task, acting, shown(r), whole, str(r["episodes"]), command])
        if task in PAPER:
            rows.append([task, "the paper's, its arm and its cubes", PAPER[task], "-", "-", "-"])
    return markdown(rows).replace("---:", "---")


def report() -> None:
    """Write the table of docs/stacking.md."""
    text = PAGE.read_text(encoding="utf-8")
    made, count = TABLE.subn(lambda found: f"{found[1]}\n{table()}\n\n{found[2]}", text)
    if not count:
        raise ValueError(f"{PAGE}: found no place for the table, expected <!-- stacking --> ... <!-- /stacking -->")
    with whole_file(PAGE) as path:
        path.write_text(made, encoding="utf-8")


def main(words: list[str] | None = None) -> None:
    """Print scores, and append them to evaluation/results if asked for."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.stacking", description=__doc__.splitlines()[0])
    parser.add_argument("planner", nargs="?", help="a checkpoint of stacking; the oracle needs none")
    parser.add_argument("--task", choices=TASKS, action="append", help="default: all three")
    parser.add_argument("--acting", choices=(*ACTING, REPLAY), default="guided")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the first episode")
    parser.add_argument("--batch-size", type=int, help=f"candidates; default: {BATCH} with a cost, else 1")
    parser.add_argument("--scale", type=float, default=GUIDE.scale, help="of the guide (%(default)s)")
    parser.add_argument("--weight", type=float, default=WEIGHT, help="of the cost (%(default)s)")
    parser.add_argument("--precision")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--gif", help="a film of the first episode, of the last task")
    parser.add_argument("--json", action="store_true", help="print the whole record")
    parser.add_argument("--record", action="store_true", help="append to evaluation/results; needs a clean tree")
    parser.add_argument("--report", action="store_true", help="only write the table of docs/stacking.md")
    options = parser.parse_args(words)
    if options.report:
        return report()
    if options.planner is None and options.acting not in ("oracle", REPLAY):
        parser.error("planner: found none, expected a checkpoint; only --acting oracle and replay need none")
    head, dirty = commit()
    if options.record and dirty:
        parser.error("--record: found changes that are not committed, expected a clean tree")
    for task in ["one placement"] if options.acting == REPLAY else options.task or TASKS:
        result = measured(options, task)
        if options.json:
            print(json.dumps(result), flush=True)
        else:
            print(f"{task}, {options.acting}: {shown(result)} over {result['episodes']} episodes", flush=True)
        if options.record:
            append(_record(options, task, result, head))


def _record(options: argparse.Namespace, task: str, result: dict[str, Any], head: str) -> dict[str, Any]:
    command = ["python", "-m", "evaluation.stacking"]
    made = options.acting not in ("oracle", REPLAY)
    if made:
        command.append("stacking")
    if options.acting != REPLAY:
        command += ["--task", task]
    command += ["--acting", options.acting, "--episodes", str(options.episodes)]
    if options.seed:
        command += ["--seed", str(options.seed)]
    for name, default in (("scale", GUIDE.scale), ("weight", WEIGHT), ("precision", None), ("batch_size", None)):
        if made and getattr(options, name) != default:
            command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "commit": head, "dirty": False,
        "cpu": fingerprint()["cpu"], "planner": "stacking", "case": f"stacking: {task}, {options.acting}",
        "sha256": hashlib.sha256(Path(options.planner).read_bytes()).hexdigest() if made else None,
        "command": shlex.join(command), "result": result,
    }  # fmt: skip


if __name__ == "__main__":
    main()
