"""The machine's limits, measured by the same command as the workloads: FMA rate and reading speed.

``probe.c`` is compiled when it is first needed. Where there is no C compiler (or no x86), numpy's matrix product and
sum stand in: lower bounds, and the rows say so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .machine import nameless

SOURCE = Path(__file__).with_name("probe.c")
SCRATCH = Path(__file__).with_name("scratch")
WEIGHTS_MIB = 16  # the size of the original's networks: 3.7 to 4.1 million float32 weights
SIZES_MIB = (1, 4, WEIGHTS_MIB, 64)  # for the plot: where L2 and L3 end
ISAS = ("avx512", "avx2", "scalar")


@dataclass(frozen=True)
class Ceiling:
    """gflops: float32 multiply-adds, two operations each, all threads. gbs: MiB read again and again -> GB/s.

    isa: the instruction set measured; how: "probe.c", or what stood in for it and why.
    """

    gflops: float
    gbs: dict[int, float]
    isa: str
    threads: int
    how: str

    @property
    def weights_gbs(self) -> float:
        """Reading speed over as many bytes as a network has weights, from whichever cache they lie in."""
        return self.gbs[WEIGHTS_MIB]

    def to_json(self) -> dict[str, Any]:
        """As it stands in a row."""
        return {**asdict(self), "gbs": {str(mib): speed for mib, speed in self.gbs.items()}}


def measure(threads: int, isa: str | None = None, scratch: Path = SCRATCH) -> Ceiling:
    """The ceiling for ``threads`` threads, of ``isa`` or of the widest instruction set there is."""
    try:
        program = _compiled(scratch)
    except (OSError, subprocess.CalledProcessError) as error:
        return _numpy_ceiling(threads, f"numpy: probe.c cannot be built ({nameless(str(error)).splitlines()[0]})")
    for candidate in ISAS if isa is None else (isa,):
        command = [str(program), candidate, str(threads), *map(str, SIZES_MIB)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            found = json.loads(done.stdout)
            speeds = {int(mib): speed for mib, speed in found["gbs"].items()}
            return Ceiling(found["gflops"], speeds, candidate, threads, "probe.c")
    return _numpy_ceiling(threads, f"numpy: {done.stderr.strip()}")


def _compiled(scratch: Path) -> Path:
    """The probe's program, built anew when its source is newer."""
    names = [name for name in (os.environ.get("CC"), "gcc", "clang", "cc") if name]
    compiler = next((found for found in map(shutil.which, names) if found), None)
    if compiler is None:
        raise OSError("there is no C compiler")
    program = scratch / "probe"
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        scratch.mkdir(parents=True, exist_ok=True)
        fresh = scratch / f"probe.{os.getpid()}"
        command = [compiler, "-O3", "-std=gnu11", "-pthread", str(SOURCE), "-o", str(fresh)]
        subprocess.run(command, check=True, capture_output=True)
        fresh.replace(program)  # whole or not at all: another ladder may be running it
    return program


def _numpy_ceiling(threads: int, how: str) -> Ceiling:
    rng = np.random.default_rng(0)
    a, b = (rng.random((1024, 1024), np.float32) for _ in range(2))
    out = np.empty_like(a)
    gflops = 2 * 1024**3 / _best(lambda: np.matmul(a, b, out=out)) * 1e-9
    speeds = {}
    for mib in SIZES_MIB:
        data = np.ones(mib << 18, np.float32)
        speeds[mib] = data.nbytes / _best(data.sum) * 1e-9
    return Ceiling(gflops, speeds, "numpy", threads, how)


def _best(call: Any, passes: int = 20) -> float:
    taken = []
    for _ in range(passes):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)
