"""``python -m bench.delays``: what planning that takes d control steps costs in the maze, as a record.

It runs ``examples/plan_while_acting.py`` for the bundled planner, in simulated time: no score depends on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from .machine import ROOT
from .real_time import show
from .records import RESULTS, Sheet, log_of

DELAYS = (1, 4, 12, 24)
COLUMNS = ["delay, steps", "score", "standard error", "seam", "from delay 0, errors"]


def main(words: list[str] | None = None) -> None:
    """Print the table, and append it to bench/results if asked for."""
    parser = argparse.ArgumentParser(description=main.__doc__, prog="python -m bench.delays")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--delays", type=int, nargs="+", default=DELAYS)
    parser.add_argument("--record", action="store_true", help="append it to bench/results")
    parser.add_argument("--results", metavar="FOLDER", default=RESULTS, help="of the records")
    options = parser.parse_args(words)
    log = log_of("delays", words, 1, options.results) if options.record else None
    asked = ["--episodes", options.episodes, "--delays", *options.delays, "--json"]
    example = [sys.executable, str(ROOT / "examples" / "plan_while_acting.py"), *map(str, asked)]
    done = subprocess.run(example, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr)
    sheet = table(json.loads(done.stdout), options.episodes)
    show(sheet)
    if log is not None:
        log.append(sheet)
        print(f"1 record appended to {os.path.relpath(log.path)}")


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
