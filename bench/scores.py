"""``python -m bench.scores``: closed-loop scores of the bundled planners, as records, and the tables made of them.

Each case is the command a person would type (``diffuser-fast rollout ...``); its record goes into
``bench/results/scores/<date>.jsonl`` with commit, time and the checkpoint's digest. ``--report`` only writes the
sections ``<!-- score:summary -->`` and ``<!-- actors -->`` of README.md, docs/locomotion.md and the model cards anew.
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
from diffuser_fast.pretrained import actors

from .machine import ROOT, commit, fingerprint
from .report import rewrite
from .tables import markdown

FOLDER = Path(__file__).with_name("results") / "scores"
CARDS = Path(pretrained.__file__).parent
MARKER = re.compile(r"(<!-- score:summary -->\n).*?(<!-- /score:summary -->)", re.DOTALL)
POLICIES = re.compile(r"(<!-- actors -->\n).*?(<!-- /actors -->)", re.DOTALL)
# What a case shows -> the options of `rollout`. Planning at every step costs a hundred times as much.
MAZE_CASES = {
    "plan once, the paper's controller": ["--episodes", "100"],
    "plan again at every step": ["--episodes", "20", "--replan", "1", "--together", "20"],
    "plan once, bf16": ["--episodes", "100", "--precision", "bf16"],
    "plan once, float32-close": ["--episodes", "100", "--precision", "float32-close"],
    "random targets (Multi2D), plan once": ["--episodes", "100", "--env", "multi2d-{layout}"],
}
# Bodies plan at every step. All cases have the same starts, at seeds that no choice of theirs ever saw.
BODY = ["--episodes", "50", "--warm-start", "5", "--precision", "float32-close", "--batch-size"]
BODY_CASES = {
    "guided": [*BODY, "16"],
    "unguided, ranked by value": [*BODY, "16", "--guide", "rank"],
    "unguided, one plan": [*BODY, "1", "--guide", "none"],
}
# Scores on D4RL's scale are a ruler for bodies: data and bodies are not D4RL's.
MAZE_HEAD = ["planner", "acting", "score", "reached", "episodes", "command"]
BODY_HEAD = ["planner", "acting", "return", "on D4RL's scale", "steps", "episodes", "command"]
POLICY_HEAD = ["data", "algorithm, steps", "return", "on D4RL's scale", "steps of an episode"]


def cases(name: str) -> dict[str, list[str]]:
    """The cases of a bundled planner."""
    return MAZE_CASES if name.startswith("maze2d-") else BODY_CASES


def measure(name: str, case: str) -> dict[str, Any]:
    """Run one case of one bundled planner; its record."""
    options = [word.format(layout=name.removeprefix("maze2d-")) for word in cases(name)[case]]
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
    mazes, bodies = [], []
    for (name, case), record in sorted(newest.items()):
        r, command = record["result"], f"`{record['command'].removesuffix(' --json')}`"
        score, episodes = f"{r['score']:.1f} ± {r['standard_error']:.1f}", str(r["episodes"])
        if "reached" in r:
            mazes.append([name, case, score, f"{r['reached']:.0%}", episodes, command])
        else:
            total = f"{r['return']:.0f} ± {r['return_standard_error']:.0f}"
            bodies.append([name, case, total, score, f"{r['length']:.0f}", episodes, command])
    parts = [_markdown([head, *rows]) for head, rows in ((MAZE_HEAD, mazes), (BODY_HEAD, bodies)) if rows]
    return "\n\n".join(parts) or "No scores yet (`python -m bench.scores`)."


def policies() -> str:
    """Markdown of the bundled behaviour policies, from their cards; of several in a file the first and the last."""
    rows = []
    for name in actors.names():
        found = json.loads(actors.path(name).with_suffix(".json").read_text(encoding="utf-8"))["policies"]
        for i in sorted({0, len(found) - 1}):
            one, which = found[i], f", {i + 1} of {len(found)}" if len(found) > 1 else ""
            rows.append([
                name + which, f"{one['algorithm'].upper()}, {one['steps']:,}",
                f"{one['mean_return']:.0f} ± {one['standard_error']:.0f}",
                f"{one['normalized']:.1f}", f"{one['mean_length']:.0f}",
            ])  # fmt: skip
    return _markdown([POLICY_HEAD, *rows])


def report() -> None:
    """Write the sections of README.md, of docs/locomotion.md and of the model cards."""
    for page in (ROOT / "README.md", ROOT / "docs" / "locomotion.md", *sorted(CARDS.glob("*.md"))):
        body = table(page.stem if page.parent == CARDS else None)
        text = MARKER.sub(lambda m, body=body: f"{m[1]}\n{body}\n\n{m[2]}", page.read_text(encoding="utf-8"))
        rewrite(page, POLICIES.sub(lambda m: f"{m[1]}\n{policies()}\n\n{m[2]}", text))


def main() -> None:
    """Measure every case that is asked for, then report."""
    parser = argparse.ArgumentParser(prog="python -m bench.scores", description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="only write the tables")
    parser.add_argument("--only", default="", help="cases whose 'planner, case' contains this")
    chosen = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = [(name, case) for name in pretrained.names() for case in cases(name) if chosen.only in f"{name}, {case}"]
    for name, case in () if chosen.report else wanted:
        record = measure(name, case)
        with (FOLDER / f"{record['time'][:10]}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(record)}\n")
        print(f"{name}, {case}: {record['result']['score']:.1f} +- {record['result']['standard_error']:.1f}")
    report()


def _markdown(rows: list[list[str]]) -> str:
    return markdown(rows).replace("---:", "---")


def _digest(name: str) -> str:
    return hashlib.sha256(pretrained.path(name).read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
