"""``python -m bench.offline``: what `make gpu-check` runs. Exit codes: 0 all fine; 1 a kernel is not; 2 bad options."""

from __future__ import annotations

import argparse
import os
import sys
import time

from ..gpu.checkout import mount_kernels
from ..machine import usable_cores
from ..screen import aligned
from .compiled import SHARED_KIB, Compiled
from .store import Task, results

COLUMNS = ["kernel", "for", "registers", "shared KiB", "warps", "stages", "shape"]


def main(words: list[str] | None = None) -> int:
    """Compile, print the table and the complaints."""
    options = _parser().parse_args(words)
    if os.environ.get("TRITON_INTERPRET") == "1":
        print("gpu-check: TRITON_INTERPRET=1 is set: unset it, nothing can be compiled under it", file=sys.stderr)
        return 2
    mount_kernels()
    from .select import Choice, everything, for_ci

    began = time.monotonic()
    lists = (options.network, options.batch, options.precision, options.capability)
    choice = Choice(*(tuple(one or ()) for one in lists))
    if options.ci and choice != Choice():
        print("gpu-check: --ci is a choice of its own: it goes with no other", file=sys.stderr)
        return 2
    try:
        tasks = for_ci() if options.ci else everything(choice)
    except ValueError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    print(f"{len(tasks)} specialisations, {options.workers} at a time", flush=True)
    found: dict[Task, Compiled] = {}
    new = 0
    for n, (task, made, now) in enumerate(results(tasks, options.workers, prepare=mount_kernels), 1):
        found[task], new = made, new + now
        if (wrong := made.complaint(task[1])) is not None:
            print(f"{_named(task)}: {wrong}", flush=True)
        if n % 50 == 0:
            print(f"[{n}/{len(tasks)}] {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print("\n".join(table(found if options.all else worst(found))))
    wrong = sum(made.complaint(task[1]) is not None for task, made in found.items())
    print(f"{len(found)} compiled ({new} of them now) in {time.monotonic() - began:.0f} s, {wrong} not fit to ship")
    return 1 if wrong or not found else 0


def table(found: dict[Task, Compiled]) -> list[str]:
    """A line for each."""
    cells = [
        [
            task[0].name, f"sm_{task[1]}", str(made.registers), f"{made.shared / 1024:.1f}", str(made.warps),
            str(made.stages), task[0].shape,
        ]
        for task, made in sorted(found.items(), key=lambda item: (item[0][0].name, item[0][1], -item[1].registers))
    ]  # fmt: skip
    # The shape comes last and is text: it is put behind the aligned rest.
    lines = aligned([row[:-1] for row in [COLUMNS, *cells]])
    return [f"{line}  {row[-1]}" for line, row in zip(lines, [COLUMNS, *cells], strict=True)]


def worst(found: dict[Task, Compiled]) -> dict[Task, Compiled]:
    """Of every kernel on every architecture the one with the most registers and the one with the most shared memory."""
    chosen: dict[Task, Compiled] = {}
    groups: dict[tuple[str, int], list[Task]] = {}
    for task in found:
        groups.setdefault((task[0].kernel, task[1]), []).append(task)
    for tasks in groups.values():
        for measure in ("registers", "shared"):
            task = max(tasks, key=lambda one: getattr(found[one], measure))
            chosen[task] = found[task]
    return chosen


def _named(task: Task) -> str:
    return f"{task[0].name} for sm_{task[1]} ({task[0].shape})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument("--ci", action="store_true", help="the part that fits into CI's time (see select.py)")
    parser.add_argument("--all", action="store_true", help="a line for everything, not for the heaviest alone")
    more = {"action": "append", "metavar": "ONE"}
    parser.add_argument("--network", help="of workloads.toml; again for more (all)", **more)
    parser.add_argument("--batch", type=int, help="trajectories at once; again for more (1, 64 and 1024)", **more)
    parser.add_argument("--precision", help="again for more (all)", **more)
    parser.add_argument("--capability", type=_capability, help="e.g. 90; again for more (all)", **more)
    parser.add_argument("--workers", type=int, default=max(1, min(8, usable_cores())), help="processes at once")
    return parser


def _capability(word: str) -> int:
    if not word.isdigit() or int(word) not in SHARED_KIB:
        raise argparse.ArgumentTypeError(f"found {word!r}, expected one of {', '.join(map(str, SHARED_KIB))}")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
