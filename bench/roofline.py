"""The machine's limits, measured by the same command as the workloads: FMA rate and reading speed.

``probe.c`` is compiled when it is first needed, once per instruction set.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from . import machine

SOURCE = Path(__file__).with_name("probe.c")
WEIGHTS_MIB = 16  # the size of the original's networks: 3.7 to 4.1 million float32 weights
SIZES_MIB = (1, 4, WEIGHTS_MIB, 64)  # where L2 and L3 end
# Name -> the flags that a CPU must have, the compiler's, and the width of a vector in bytes.
ISAS = {
    "avx512": ({"avx512f"}, ["-mavx512f", "-DWIDTH=64"]),
    "avx2": ({"avx2", "fma"}, ["-mavx2", "-mfma", "-DWIDTH=32"]),
    "neon": ({"asimd"}, ["-DWIDTH=16"]),
    "scalar": (set(), ["-DWIDTH=16"]),  # what every CPU of the kind has: SSE2
}


def measure(threads: int, isa: str | None = None, scratch: Path = machine.SCRATCH) -> dict[str, Any]:
    """The limits of ``threads`` threads, with ``isa`` or the widest instruction set there is: "gflops" of float32 FMA,
    two operations each; "gbs", MiB read again and again -> GB/s; "isa". Empty without a C compiler.
    """
    has = set(machine.fingerprint()["isa"])
    chosen = isa or next(name for name, (needs, _) in ISAS.items() if needs <= has)
    if not ISAS[chosen][0] <= has:
        return {}
    flags = ["-O3", "-std=gnu11", "-ffp-contract=fast", "-pthread", *ISAS[chosen][1]]
    program = machine.compiled(SOURCE, flags, scratch / f"probe-{chosen}")
    if program is None:
        return {}
    done = subprocess.run([program, str(threads), *map(str, SIZES_MIB)], capture_output=True, text=True, check=True)
    return {"isa": chosen, **json.loads(done.stdout)}


def weights_gbs(ceiling: dict[str, Any]) -> float:
    """Reading speed over as many bytes as a network has weights, from whichever cache they lie in."""
    return ceiling["gbs"][str(WEIGHTS_MIB)]
