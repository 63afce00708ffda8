"""``python -m evaluation.delays``: what planning that takes d control steps costs in the maze, as a record.

It runs ``examples/plan_while_acting.py`` for the bundled planner, in simulated time: no score depends on the machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from bench.machine import ROOT
from bench.recording import add_options, recording
from bench.records import Sheet

DELAYS = (1, 4, 12, 24)
COLUMNS = ["delay, steps", "score", "standard error", "seam", "from delay 0, errors"]


def main(words: list[str] | None = None) -> None:
    """Print the table, and append it to bench/results if asked for."""
    parser = argparse.ArgumentParser(description=main.__doc__, prog="python -m evaluation.delays")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--delays", type=int, nargs="+", default=DELAYS)
    add_options(parser)
    options = parser.parse_args(words)
    asked = ["--episodes", options.episodes, "--delays", *options.delays, "--json"]
    example = [sys.executable, str(ROOT / "examples" / "plan_while_acting.py"), *map(str, asked)]
    with recording("evaluation.delays", words, 1, options) as kept:
        done = subprocess.run(example, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise SystemExit(done.stderr)
        kept(table(json.loads(done.stdout), options.episodes))


def table(found: dict, episodes: int) -> Sheet:
    """Scores by delay; the last column: the distance from delay 0 in standard errors of the difference."""
    at_once, *_ = rows = found["rows"]
    cells = []
    for row in rows:
        error = (row["error"] ** 2 + at_once["error"] ** 2) ** 0.5
        apart = abs(row["score"] - at_once["score"]) / error if row is not at_once and error else None
        cells.append([row["delay"], row["score"], row["error"], row["seam"], apart])
    return Sheet("delays", f"{found['checkpoint']} in {found['env']}, {episodes} episodes", COLUMNS, cells)


if __name__ == "__main__":
    main()
