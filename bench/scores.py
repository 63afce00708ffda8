"""``python -m bench.scores``: closed-loop scores of the bundled planners, as records, and the tables made of them.

Each case is the command a person would type (``diffuser-fast rollout ...``); its record goes into
``bench/results/scores/<date>.jsonl`` with commit, time and the checkpoint's digest. ``--report`` only writes the
sections ``<!-- score:summary -->`` of README.md and of the model cards anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from diffuser_fast import pretrained

from .machine import ROOT, commit, fingerprint
from .report import rewrite
from .tables import markdown

FOLDER = Path(__file__).with_name("results") / "scores"
CARDS = Path(pretrained.__file__).parent
MARKER = re.compile(r"(<!-- score:summary -->\n).*?(<!-- /score:summary -->)", re.DOTALL)
# What a case shows -> the options of `rollout`. Planning at every step costs a hundred times as much.
CASES = {
    "plan once, the paper's controller": ["--episodes", "100"],
    "plan again at every step": ["--episodes", "20", "--replan", "1", "--together", "20"],
    "plan once, bf16": ["--episodes", "100", "--precision", "bf16"],
    "plan once, float32-close": ["--episodes", "100", "--precision", "float32-close"],
    "random targets (Multi2D), plan once": ["--episodes", "100", "--env", "multi2d-{layout}"],
}


def measure(name: str, case: str) -> dict[str, Any]:
    """Run one case of one bundled planner; its record."""
    options = [word.format(layout=name.removeprefix("maze2d-")) for word in CASES[case]]
    words = ["rollout", name, *options, "--json"]
    command = [sys.executable, "-m", "diffuser_fast.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    head, dirty = commit()
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "commit": head, "dirty": dirty,
        "cpu": fingerprint()["cpu"], "planner": name, "sha256": _digest(name), "case": case,
        "command": shlex.join(["diffuser-fast", *words]), "result": json.loads(done.stdout),
    }  # fmt: skip


def table(planner: str | None = None) -> str:
    """Markdown of the newest record of each planner and case, of the checkpoint that is bundled now."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(FOLDER.glob("*.jsonl")):
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            name = record["planner"]
            if planner in (None, name) and name in pretrained.names() and _digest(name) == record["sha256"]:
                newest[name, record["case"]] = record
    rows = []
    for (name, case), record in sorted(newest.items()):
        r, command = record["result"], record["command"].removesuffix(" --json")
        score = f"{r['score']:.1f} ± {r['standard_error']:.1f}"
        rows.append([name, case, score, f"{r['reached']:.0%}", str(r["episodes"]), f"`{command}`"])
    head = ["planner", "acting", "score", "reached", "episodes", "command"]
    return markdown([head, *rows]).replace("---:", "---") if rows else "No scores yet (`python -m bench.scores`)."


def report() -> None:
    """Write the sections of README.md and of the model cards."""
    for page in (ROOT / "README.md", *sorted(CARDS.glob("*.md"))):
        body = table(page.stem if page.parent == CARDS else None)
        rewrite(page, MARKER.sub(lambda m, body=body: f"{m[1]}\n{body}\n\n{m[2]}", page.read_text(encoding="utf-8")))


def main() -> None:
    """Measure every case that is asked for, then report."""
    parser = argparse.ArgumentParser(prog="python -m bench.scores", description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="only write the tables")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    chosen = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in () if chosen.report else pretrained.names():
        for case in (case for case in CASES if chosen.only in case):
            record = measure(name, case)
            with (FOLDER / f"{record['time'][:10]}.jsonl").open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(record)}\n")
            print(f"{name}, {case}: {record['result']['score']:.1f} +- {record['result']['standard_error']:.1f}")
    report()


def _digest(name: str) -> str:
    return hashlib.sha256(pretrained.path(name).read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
