"""NVIDIA's compute-sanitizer over tiny plans of the CUDA engine: accesses, races in shared memory, barriers.

``python -m on_gpu.sanitizer stages`` is what it runs: plans of small networks in both precisions.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from bench.records import Sheet
from diffuser_fast.backends.cuda import LAUNCHES, PRECISIONS
from diffuser_fast.backends.cuda.device import Gpu, why_not
from diffuser_fast.backends.cuda.division import CLUSTERS
from diffuser_fast.conformance import Target, loop_cases

TOOLS = ("memcheck", "racecheck", "synccheck")
CASES = ("narrow", "one denoising step", "attention")  # a minute's worth: a tool is tens of times slower
COLUMNS = ["tool", "launches", "errors", "why not"]


def measure(limit: float) -> Sheet:
    """Errors by tool and way of launching; ``limit``: seconds for each."""
    program, rows = shutil.which("compute-sanitizer"), []
    found = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # there, what is imported here
    for tool in TOOLS:
        for launches in ways():
            if program is None:
                rows.append([tool, launches, None, "compute-sanitizer is not on the path"])
                continue
            command = [program, "--tool", tool, sys.executable, "-m", "on_gpu.sanitizer", launches]
            try:
                done = subprocess.run(command, env=found, capture_output=True, text=True, timeout=limit)
            except subprocess.TimeoutExpired:
                rows.append([tool, launches, None, "the time for it was over"])
                continue
            rows.append([tool, launches, *verdict(done.stdout + done.stderr, done.returncode)])
    return Sheet("sanitizer", "tiny plans", COLUMNS, rows)


def ways() -> list[str]:
    """How plans can be launched on this machine's first GPU; all ways where there is none."""
    without = why_not(None) is None and not Gpu(0).clusters
    return [launches for launches in LAUNCHES if not (without and launches in CLUSTERS)]


def verdict(said: str, code: int) -> tuple[int | None, str | None]:
    """How many errors a tool found; or None, and its last word. A plan that did not end is no plan without errors."""
    found = re.findall(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+) (?:error|hazard)", said)
    if not found or (code and not any(map(int, found))):
        return None, (said.strip().splitlines() or ["no word"])[-1][:200]
    return sum(map(int, found)), None


def main(words: list[str]) -> int:
    """Tiny plans, launched in this way."""
    named = {case.name: case for case in loop_cases()}
    for name in CASES:
        for precision in PRECISIONS:
            target = Target("cuda", precision=precision, device="cuda", launches=words[0])
            named[name].plan(target.ready(named[name].loop, named[name].batch))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
