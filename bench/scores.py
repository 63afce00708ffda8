"""``python -m bench.scores``: closed-loop scores of the bundled planners, as rows, and the tables made of them.

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
from diffuser_fast.pretrained import actors

from .machine import ROOT, commit, fingerprint

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


def cases(name: str) -> dict[str, list[str]]:
    """The cases of a bundled planner."""
    return MAZE_CASES if name.startswith("maze2d-") else BODY_CASES


def measure(name: str, case: str) -> dict[str, Any]:
    """Run one case of one bundled planner; its row."""
    options = [word.format(layout=name.removeprefix("maze2d-")) for word in cases(name)[case]]
    words = ["diffuser-fast", "rollout", name, *options, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "diffuser_fast.cli", *words[1:]], capture_output=True, text=True, check=True, cwd=ROOT
    )
    revision, dirty = commit()
    digest = hashlib.sha256(pretrained.path(name).read_bytes()).hexdigest()
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": revision,
        "dirty": dirty,
        "cpu": fingerprint()["cpu"],
        "planner": name,
        "sha256": digest,
        "case": case,
        "command": shlex.join(words),
        "result": json.loads(done.stdout),
    }


def append(row: dict[str, Any]) -> None:
    """Files of rows are only ever appended to."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{row['time'][:10]}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def table(planner: str | None = None) -> str:
    """Markdown of the newest row of each planner and case, of the checkpoint that is bundled now."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            bundled = row["planner"] in pretrained.names() and (
                hashlib.sha256(pretrained.path(row["planner"]).read_bytes()).hexdigest() == row["sha256"]
            )
            if bundled and planner in (None, row["planner"]):
                newest[row["planner"], row["case"]] = row
    if not newest:
        return "No scores yet (`python -m bench.scores`)."
    mazes = {key: row for key, row in newest.items() if "reached" in row["result"]}
    parts = [_mazes(mazes)] if mazes else []
    if len(mazes) < len(newest):
        parts.append(_bodies({key: row for key, row in newest.items() if key not in mazes}))
    return "\n\n".join(parts)


def _mazes(rows: dict[tuple[str, str], dict[str, Any]]) -> str:
    lines = ["| planner | acting | score | reached | episodes | command |", "|---|---|---|---|---|---|"]
    for (name, case), row in sorted(rows.items()):
        r = row["result"]
        lines.append(
            f"| {name} | {case} | {r['score']:.1f} ± {r['standard_error']:.1f} | {r['reached']:.0%} "
            f"| {r['episodes']} | `{row['command'].removesuffix(' --json')}` |"
        )
    return "\n".join(lines)


def _bodies(rows: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Scores on D4RL's scale are a ruler here: data and bodies are not D4RL's."""
    lines = ["| planner | acting | return | on D4RL's scale | steps | episodes | command |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for (name, case), row in sorted(rows.items()):
        r = row["result"]
        lines.append(
            f"| {name} | {case} | {r['return']:.0f} ± {r['return_standard_error']:.0f} | {r['score']:.1f} ± "
            f"{r['standard_error']:.1f} | {r['length']:.0f} | {r['episodes']} "
            f"| `{row['command'].removesuffix(' --json')}` |"
        )
    return "\n".join(lines)


def policies() -> str:
    """Markdown of the bundled behaviour policies, from their cards; of several in a file the first and the last."""
    lines = ["| data | algorithm, steps | return | on D4RL's scale | steps of an episode |", "|---|---|---|---|---|"]
    for name in actors.names():
        found = json.loads(actors.path(name).with_suffix(".json").read_text(encoding="utf-8"))["policies"]
        for i in sorted({0, len(found) - 1}):
            one, which = found[i], f", {i + 1} of {len(found)}" if len(found) > 1 else ""
            lines.append(
                f"| {name}{which} | {one['algorithm'].upper()}, {one['steps']:,} "
                f"| {one['mean_return']:.0f} ± {one['standard_error']:.0f} "
                f"| {one['normalized']:.1f} | {one['mean_length']:.0f} |"
            )
    return "\n".join(lines)


def report() -> None:
    """Write the sections of README.md, of docs/locomotion.md and of the model cards."""
    for page in (ROOT / "README.md", ROOT / "docs" / "locomotion.md", *sorted(CARDS.glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        body = table(page.stem if page.parent == CARDS else None)
        written = MARKER.sub(lambda m, body=body: f"{m[1]}\n{body}\n\n{m[2]}", text)
        written = POLICIES.sub(lambda m: f"{m[1]}\n{policies()}\n\n{m[2]}", written)
        if written != text:
            page.write_text(written, encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {'written' if written != text else 'as it was'}")


def main() -> int:
    """Measure every case that is asked for, then report."""
    parser = argparse.ArgumentParser(prog="python -m bench.scores", description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="only write the tables")
    parser.add_argument("--only", default="", help="cases whose 'planner, case' contains this")
    chosen = parser.parse_args()
    for name in () if chosen.report else pretrained.names():
        for case in cases(name):
            if chosen.only in f"{name}, {case}":
                row = measure(name, case)
                append(row)
                print(f"{name}, {case}: {row['result']['score']:.1f} +- {row['result']['standard_error']:.1f}")
    report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
