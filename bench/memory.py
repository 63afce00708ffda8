"""Peak memory of one candidate alone: a process that loads, runs a workload a few times, and reports on itself."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .machine import ROOT
from .peers import Candidate, Settings, candidates
from .problem import problem
from .workloads import Workload, ladder

CALLS = 3


def alone(workload: Workload, candidate: Candidate, settings: Settings) -> dict[str, Any]:
    """Fields of a "memory" row, from a fresh process."""
    request = {"workload": workload.name, "candidate": candidate.name, "settings": asdict(settings)}
    command = [sys.executable, "-m", "bench.memory", json.dumps(request)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    fields = {"workload": workload.name, "candidate": candidate.name}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        failed = f"its process ended with {done.returncode}: {last[:300]}"
        return {**fields, "why_not": failed, "peak_rss_mib": None, "torch_loaded": None}
    return {**fields, **json.loads(done.stdout.splitlines()[-1])}


def _child(request: dict[str, Any]) -> dict[str, Any]:
    """In the fresh process. The inputs are made with numpy alone, so what else is loaded is the candidate's."""
    # torch.compile in one mode only: what it holds while it compiles counts, and it should not count four times.
    settings = Settings(**{**request["settings"], "quick": True, "compiled": (request["workload"],)})
    (candidate,) = (c for c in candidates(every_isa=True) if c.name == request["candidate"])
    given = problem(ladder().find(request["workload"]))
    why_not = candidate.why_not(given, settings)
    peak = None
    if why_not is None:
        ready = candidate.ready(given, settings)
        for _ in range(CALLS):
            ready.run()
        peak = _peak_mib()
    return {"why_not": why_not, "peak_rss_mib": peak, "torch_loaded": "torch" in sys.modules}


def _peak_mib() -> float:
    """Of this process since it began. Linux's ru_maxrss would begin with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # macOS counts bytes


if __name__ == "__main__":
    print(json.dumps(_child(json.loads(sys.argv[1]))))
