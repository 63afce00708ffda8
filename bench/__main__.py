"""``python -m bench``: what `make bench`, `make gpu` and `diffuser-fast bench` run in a checkout."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from dataclasses import asdict

from .remote import Failure


def main(words: list[str] | None = None) -> int:
    """Exit codes: 0 done; 1 something that was checked on a GPU is wrong; 2 nothing can be measured, or bad options."""
    parser = _parser()
    options = parser.parse_args(words)
    if options.calls and not options.tails:
        parser.error("--calls is for --tails")
    if sys.version_info < (3, 11):
        parser.error(f"Python {sys.version.split()[0]} is too old for the benchmarks: they need 3.11")
    for package in ("numpy", "torch"):
        if importlib.util.find_spec(package) is None:
            parser.error(f"{package} is not installed here (make gpu PYTHON=... names another Python)")
    try:
        if options.readme:
            from .report import run

            run()
            return 0
        if options.gpu:
            from .gpu import run
        else:
            from .suite import run
        logs, right = run(options)
    except (ValueError, Failure) as error:
        parser.error(str(error))
    if options.json:
        runs = [{"path": os.path.relpath(log.path), "records": [asdict(r) for r in log.records]} for log in logs]
        print(json.dumps({"runs": runs}, indent=2))
    for log in () if options.json else logs:
        print(f"{len(log.records) - 1} records appended to {os.path.relpath(log.path)}")
    if not right:
        print("some answers are wrong: see the checks above", file=sys.stderr)
    return 0 if right else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Latency of our engines beside their peers, in one interleaved run. Every candidate is checked "
        "against float64 before it is timed. Records are appended to bench/results.",
    )
    what, length = parser.add_mutually_exclusive_group(), parser.add_mutually_exclusive_group()
    flag, more = {"action": "store_true"}, {"action": "append", "default": []}
    length.add_argument("--summary", help="the front page: whole plans beside what is ready in seconds", **flag)
    length.add_argument("--quick", help="six workloads in a few minutes, without torch.compile", **flag)
    parser.add_argument("--only", metavar="PATTERN", help="workloads: part of a name, or a pattern with *", **more)
    parser.add_argument("--candidates", metavar="PATTERN", help="the same of candidates; ! leaves out", **more)
    parser.add_argument("--threads", type=_positive, help="of every candidate; again: a run each", **more)
    parser.add_argument("--isa", choices=("scalar", "avx2", "avx512", "neon"), help="the widest allowed, to peers too")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds of measuring per workload")
    what.add_argument("--tails", help="instead: p50 to the slowest of 10,000 calls of a control loop", **flag)
    parser.add_argument("--calls", type=_positive, help="of --tails")
    what.add_argument("--layers", help="instead: every op of our engine against its roof", **flag)
    what.add_argument("--readme", help="instead: the tables and the picture of the pages, from the records", **flag)
    what.add_argument("--gpu", help="instead: checks and the suite on an NVIDIA GPU (make gpu)", **flag)
    parser.add_argument("--minutes", type=float, default=8.5, help="of --gpu, all in all (default %(default)s)")
    parser.add_argument("--no-checks", help="of --gpu: the suite alone", **flag)
    parser.add_argument("--no-suite", help="of --gpu: the checks alone", **flag)
    parser.add_argument("--rehearse", help="of --gpu: all in small on the CPU; it counts for nothing", **flag)
    parser.add_argument("--results", metavar="FOLDER", help="of the records (default: bench/results)")
    parser.add_argument("--json", help="print one JSON object and nothing else", **flag)
    return parser


def _positive(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"found {word!r}, expected a whole number, at least 1")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
