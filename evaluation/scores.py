"""``python -m evaluation.scores``: closed-loop scores of the bundled planners, as records, and the tables made of them.

Each case is the command a person would type (``diffuser-fast rollout ...``); its record goes into
``evaluation/results/<date>.jsonl`` with commit, time and the checkpoint's digest. ``--report`` only writes the
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

from bench.machine import ROOT, commit, fingerprint
from bench.report import rewrite
from bench.tables import markdown
from diffuser_fast import pretrained
from diffuser_fast.planner.presets import PRESETS
from diffuser_fast.pretrained import actors

FOLDER = Path(__file__).with_name("results")
CARDS = Path(pretrained.__file__).parent
MARKER = re.compile(r"(<!-- score:summary -->\n).*?(<!-- /score:summary -->)", re.DOTALL)
POLICIES = re.compile(r"(<!-- actors -->\n).*?(<!-- /actors -->)", re.DOTALL)
# What a case shows -> the options of `rollout`. Planning at every step costs a hundred times as much.
MAZE_CASES = {
    "plan once, the paper's controller": ["--episodes", "100"],
    "plan again at every step": ["--episodes", "20", "--replan", "1", "--together", "20"],
    "plan once, bf16": ["--episodes", "100", "--precision", "bf16"],
    "plan once, int8": ["--episodes", "100", "--precision", "int8"],
    "plan once, float32-close": ["--episodes", "100", "--precision", "float32-close"],
    "random targets (Multi2D), plan once": ["--episodes", "100", "--env", "multi2d-{layout}"],
}
# Bodies plan at every step. All cases have the same starts, at seeds that no choice of theirs ever saw.
BODY = ["--episodes", "50", "--precision", "int8", "--batch-size"]
BODY_CASES = {
    "guided": [*BODY, "16"],
    "unguided, ranked by value": [*BODY, "16", "--guide", "rank"],
    "unguided, one plan": [*BODY, "1", "--guide", "none"],
}
# On the same seeds. The paper's own takes a plan of 64 candidates at every step: fewer episodes of a body.
MAZE_CASES |= {f"preset {preset}": ["--preset", preset, "--episodes", "100"] for preset in PRESETS}
BODY_CASES |= {f"preset {preset}": ["--preset", preset, "--episodes", "50"] for preset in PRESETS[:-1]}
BODY_CASES |= {f"preset {PRESETS[-1]}": ["--preset", PRESETS[-1], "--episodes", "10"]}
TRIED = "tried: "  # begins cases of evaluation.pareto, on other seeds; no page's table of scores has them
# Scores on D4RL's scale are a ruler for bodies: data and bodies are not D4RL's.
MAZE_HEAD = ["planner", "acting", "score", "reached", "episodes", "command"]
BODY_HEAD = ["planner", "acting", "return", "on D4RL's scale", "steps", "episodes", "command"]
POLICY_HEAD = ["data", "algorithm, steps", "return", "on D4RL's scale", "steps of an episode"]


def cases(name: str) -> dict[str, list[str]]:
    """The cases of a bundled planner. A preset that says what another case does is not one more."""
    found = MAZE_CASES if name.startswith("maze2d-") else BODY_CASES
    return {case: words for case, words in found.items() if "--preset" not in words or case_of(name, words[1]) == case}


def case_of(name: str, preset: str) -> str:
    """The case that tells what a preset scores: one with the same settings written out, or its own."""
    said = {f"--{word.replace('_', '-')}": str(value) for word, value in presets(name)[preset].items()}
    for case, words in (MAZE_CASES if name.startswith("maze2d-") else BODY_CASES).items():
        options = dict(zip(words[::2], words[1::2], strict=True))
        if int(options.pop("--episodes")) >= 50 and {"--precision": "float32", **options} == said:
            return case
    return f"preset {preset}"


def options_of(name: str, case: str) -> list[str]:
    """What the command of a case has beside the planner."""
    return [word.format(layout=name.removeprefix("maze2d-")) for word in cases(name)[case]]


def measure(name: str, case: str, options: list[str], workers: int = 1) -> dict[str, Any]:
    """Run one case of one bundled planner; its record. workers: processes, which change no score."""
    words, (head, dirty) = ["rollout", name, *options, "--json"], commit()
    command = [sys.executable, "-m", "diffuser_fast.cli", *words, *(["--workers", str(workers)] if workers > 1 else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "commit": head, "dirty": dirty,
        "cpu": fingerprint()["cpu"], "planner": name, "sha256": digest(name), "case": case, "workers": workers,
        "command": shlex.join(["diffuser-fast", *words]), "preset": _preset(name, options),
        "result": json.loads(done.stdout),
    }  # fmt: skip


def newest(folder: Path = FOLDER) -> dict[tuple[str, str], dict[str, Any]]:
    """The newest record of each planner and case, of the checkpoints and presets that are bundled now, sorted."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            name = record["planner"]
            if name not in pretrained.names() or digest(name) != record["sha256"]:
                continue
            if record.get("preset") == _preset(name, shlex.split(record["command"])):
                found[name, record["case"]] = record
    return dict(sorted(found.items()))


def append(record: dict[str, Any], folder: Path = FOLDER) -> None:
    """One record more, in the file of its day."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{record['time'][:10]}.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(record)}\n")


def table(planner: str | None = None) -> str:
    """Markdown of the newest record of each planner and case."""
    chosen = {key: r for key, r in newest().items() if planner in (None, key[0]) and not key[1].startswith(TRIED)}
    mazes, bodies = [], []
    for (name, case), record in chosen.items():
        r, command = record["result"], f"`{record['command'].removesuffix(' --json')}`"
        score, episodes = shown(r), str(r["episodes"])
        if "reached" in r:
            mazes.append([name, case, score, f"{r['reached']:.0%}", episodes, command])
        else:
            bodies.append([name, case, shown(r, "return", 0), score, f"{r['length']:.0f}", episodes, command])
    parts = [_markdown([head, *rows]) for head, rows in ((MAZE_HEAD, mazes), (BODY_HEAD, bodies)) if rows]
    return "\n\n".join(parts) or "No scores yet (`python -m evaluation.scores`)."


def shown(result: dict[str, Any], name: str = "score", places: int = 1) -> str:
    """A mean of a rollout with its standard error, where there is one."""
    error = result["standard_error" if name == "score" else f"{name}_standard_error"]
    return f"{result[name]:.{places}f}" + ("" if error is None else f" ± {error:.{places}f}")


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
    parser = argparse.ArgumentParser(prog="python -m evaluation.scores", description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="only write the tables")
    parser.add_argument("--only", default="", help="cases whose 'planner, case' contains this")
    parser.add_argument("--workers", type=int, default=1, help="processes; times are then of a machine at work")
    chosen = parser.parse_args()
    wanted = [(name, case) for name in pretrained.names() for case in cases(name) if chosen.only in f"{name}, {case}"]
    for name, case in () if chosen.report else wanted:
        record = measure(name, case, options_of(name, case), chosen.workers)
        append(record)
        print(f"{name}, {case}: {shown(record['result'])}")
    report()


def presets(name: str) -> dict[str, dict[str, Any]]:
    """Those of a bundled planner, as they lie beside it."""
    return json.loads(pretrained.path(name).with_suffix(".presets.json").read_text(encoding="utf-8"))


def _preset(name: str, words: list[str]) -> dict[str, Any] | None:
    """What a command's preset says now; None without one."""
    if "--preset" not in words:
        return None
    return presets(name).get(words[words.index("--preset") + 1])


def _markdown(rows: list[list[str]]) -> str:
    return markdown(rows).replace("---:", "---")


def digest(name: str) -> str:
    """Of a bundled checkpoint's file."""
    return hashlib.sha256(pretrained.path(name).read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
