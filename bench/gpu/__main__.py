"""``python -m bench.gpu``: what `make gpu` runs. Needs Python 3.11, numpy, PyTorch and a GPU; Triton for ours."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from .checkout import mount_kernels

SCRATCH = Path(__file__).resolve().parents[1] / "scratch"
MINUTES = 8.5


def main(words: list[str] | None = None) -> int:
    """Exit codes: 0 done; 1 something that was checked is wrong; 2 nothing can be measured here, or bad options."""
    options = _parser().parse_args(words)
    if (reason := _missing()) is not None:
        return _refuse(reason)
    prepare(options.rehearse)
    mount_kernels()
    from .device import Cuda, Rehearsal, why_not

    if not options.rehearse and (reason := why_not()) is not None:
        return _refuse(reason)
    from ..rows import RESULTS
    from .session import Request, rungs, session

    default = SCRATCH / "rehearsals" if options.rehearse else RESULTS
    request = Request(
        device=Rehearsal() if options.rehearse else Cuda(), results=Path(options.results or default),
        minutes=options.minutes, only=tuple(options.only), check=not options.no_checks, measure=not options.no_ladder,
    )  # fmt: skip
    try:
        rungs(request)
    except ValueError as error:
        return _refuse(str(error))
    log, right = session(request)
    print(f"{len(log.rows) - 1} rows appended to {os.path.relpath(log.path)}", flush=True)
    if not right:
        print("some answers are wrong: see the checks above", file=sys.stderr)
    return 0 if right else 1


def prepare(rehearsal: bool) -> None:
    """Environment that libraries read when they are loaded; so before any of them is. Children inherit it."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(SCRATCH / "inductor"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(SCRATCH / "triton"))
    if rehearsal:
        os.environ["TRITON_INTERPRET"] = "1"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__)
    parser.add_argument("--minutes", type=_minutes, default=MINUTES, help="all the time there is (default %(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="workloads: part of a name")
    parser.add_argument("--no-checks", action="store_true", help="the ladder alone")
    parser.add_argument("--no-ladder", action="store_true", help="the checks alone")
    parser.add_argument("--results", metavar="FOLDER", help="of the rows (default: bench/results)")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="all in small on the CPU, interpreted; its rows count for nothing",
    )
    return parser


def _minutes(word: str) -> float:
    minutes = float(word)
    if not 0 < minutes <= 600:
        raise argparse.ArgumentTypeError(f"found {word}, expected minutes, more than 0 and at most 600")
    return minutes


def _missing() -> str | None:
    if sys.version_info < (3, 11):
        return f"Python {sys.version.split()[0]} is too old for the benchmarks: they need 3.11"
    for name in ("numpy", "torch"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed in {Path(sys.executable).name} (make gpu PYTHON=... names another Python)"
    return None


def _refuse(reason: str) -> int:
    print(f"make gpu: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
