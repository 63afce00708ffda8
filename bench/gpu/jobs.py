"""Work in processes of its own, several at once: findings as they come, and an end to what does not end.

``python -m bench.gpu.jobs REQUEST`` is such a process: it runs what the request names and prints each finding as a line
of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..machine import ROOT, nameless

MARK = "finding "  # before each line that is ours; whatever else is printed is somebody's chatter
DONE = MARK + "null"
POLL = 0.05


@dataclass(frozen=True)
class Job:
    """work: a name of WORK; options: its keywords, plain values."""

    work: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """Of its process."""
        return [sys.executable, "-m", "bench.gpu.jobs", json.dumps({"work": self.work, "options": self.options})]


@dataclass(frozen=True)
class Ended:
    """A job's end: why it did not do everything, or None; and whether that was its own failure."""

    why_not: str | None
    failed: bool = False


class _Running:
    def __init__(self, job: Job) -> None:
        self.job, self.seen, self.done = job, 0, False
        self.folder = tempfile.TemporaryDirectory()
        self.out, self.err = (Path(self.folder.name) / name for name in ("out", "err"))
        with open(self.out, "w") as out, open(self.err, "w") as err:
            self.process = subprocess.Popen(job.command, cwd=ROOT, stdout=out, stderr=err, stdin=subprocess.DEVNULL)

    def findings(self) -> Iterator[Any]:
        """Whole lines that came since the last time."""
        with open(self.out, "rb") as file:
            file.seek(self.seen)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self.seen += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if line == DONE:
                self.done = True
            elif line.startswith(MARK):
                yield json.loads(line[len(MARK) :])

    def end(self, why_not: str | None = None) -> Ended:
        if self.process.poll() is None:
            self.process.kill()
        code = self.process.wait()
        failed = why_not is None and not self.done
        if failed:
            lines = self.err.read_text(errors="replace").strip().splitlines() or [f"its process ended with {code}"]
            why_not = nameless(lines[-1][:300])
        self.folder.cleanup()
        return Ended(why_not, failed)


def run(
    jobs: Iterable[Job], slots: int, left: Callable[[], float], sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[Job, Any]]:
    """(job, finding) as they come, then (job, Ended). left: seconds there are; jobs still at work then are ended."""
    waiting, running = list(jobs), []
    try:
        while waiting or running:
            while waiting and len(running) < slots and left() > 0:
                running.append(_Running(waiting.pop(0)))
            still = []
            for one in running:
                finished = one.process.poll() is not None
                yield from ((one.job, finding) for finding in one.findings())
                if finished or left() <= 0:
                    yield one.job, one.end(None if finished else "the time for it was over")
                else:
                    still.append(one)
            running = still
            if left() <= 0:
                yield from ((job, Ended("there was no time to begin it")) for job in waiting)
                waiting = []
            elif running:
                sleep(POLL)
    finally:
        for one in running:
            one.end("stopped")


def slots(cores: int, memory_gib: float | None) -> int:
    """How many processes at once: two cores and two GiB of the device's memory for each, eight at most."""
    by_memory = 8 if memory_gib is None else int(memory_gib // 2)
    return max(1, min(8, cores // 2, by_memory))


def _warm(workload: str, precision: str, device: str) -> Iterator[Any]:
    """Our engine made ready once, so that its kernels are in Triton's cache on disk. Seconds it took."""
    from ..problem import problem
    from ..workloads import ladder
    from .device import Cuda, Rehearsal
    from .ours import Ours

    given, ours = problem(ladder().find(workload)), Ours(precision)
    where = Cuda() if device == "cuda" else Rehearsal()
    why_not = ours.why_not(given, where)
    if why_not is not None:
        raise RuntimeError(why_not)
    began = time.perf_counter()
    ours.ready(given, where).check()
    yield {"seconds": time.perf_counter() - began}


def main(request: str) -> int:
    """In the process."""
    from .checkout import mount_kernels

    mount_kernels()
    asked = json.loads(request)
    if asked["work"] == "warm":
        findings = _warm(**asked["options"])
    else:
        from .checks import CHECKS

        findings = CHECKS[asked["work"]](**asked["options"])
    try:
        for finding in findings:
            print(MARK + json.dumps(finding), flush=True)
    except Exception as error:
        from .rung import failure

        print(failure(error), file=sys.stderr)
        return 1
    print(DONE, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
