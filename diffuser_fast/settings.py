"""Every environment variable the package reads: its meaning and default. Read once, at import."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

BACKENDS = ("cpu", "triton", "cuda", "reference")
MOST_THREADS = 4096  # of an engine
# Of the CPU engine, narrowest first: of x86-64, then of AArch64. A CPU has some of them (backends.cpu.isas).
ISAS = ("scalar", "avx2", "avx2_vnni", "avx512", "avx512_vnni", "avx512_bf16", "neon", "neon_dot", "neon_bf16")


@dataclass(frozen=True)
class Settings:
    """DIFFUSER_FAST_BACKEND: the backend that "auto" stands for ("": the cpu engine).
    DIFFUSER_FAST_THREADS: threads of the CPU engine where the caller names none ("": the cores this process may use).
    DIFFUSER_FAST_CORES: cores that its threads are pinned to, e.g. "2,3" ("": none is pinned). The caller's own thread
    is the first, pinned while it plans.
    DIFFUSER_FAST_ISA: one of ``ISAS`` instead of the widest that the CPU has.
    DIFFUSER_FAST_PLANNERS: a folder whose ``NAME.safetensors`` are known by name, beside those of the package.
    (DIFFUSER_FAST_BUILD and its like belong to setup.py, which says what they mean; TRITON_INTERPRET is Triton's own.)
    """

    backend: str | None = None
    threads: int | None = None
    cores: tuple[int, ...] = ()
    isa: str | None = None
    planners: Path | None = None


def usable_cores() -> set[int]:
    """Those that this process may use."""
    return set(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def read(environ: dict[str, str] | os._Environ = os.environ) -> Settings:
    """The settings of an environment; ValueError names a variable that makes no sense."""
    backend = environ.get("DIFFUSER_FAST_BACKEND") or None
    if backend not in (None, *BACKENDS):
        raise ValueError(f"DIFFUSER_FAST_BACKEND: found {backend!r}, expected one of {', '.join(BACKENDS)}")
    threads = environ.get("DIFFUSER_FAST_THREADS") or None
    if threads is not None and (not re.fullmatch("[0-9]{1,4}", threads) or not 1 <= int(threads) <= MOST_THREADS):
        raise ValueError(f"DIFFUSER_FAST_THREADS: found {threads!r}, expected a whole number from 1 to {MOST_THREADS}")
    cores = [part.strip() for part in (environ.get("DIFFUSER_FAST_CORES") or "").split(",") if part.strip()]
    if not all(re.fullmatch("[0-9]{1,6}", core) for core in cores) or len(set(cores)) < len(cores):
        raise ValueError(
            f"DIFFUSER_FAST_CORES: found {environ['DIFFUSER_FAST_CORES']!r}, expected different whole numbers like 2,3"
        )
    isa = environ.get("DIFFUSER_FAST_ISA") or None
    if isa not in (None, *ISAS):
        raise ValueError(f"DIFFUSER_FAST_ISA: found {isa!r}, expected one of {', '.join(ISAS)}")
    planners = environ.get("DIFFUSER_FAST_PLANNERS") or None
    if planners is not None and not Path(planners).is_dir():
        raise ValueError(f"DIFFUSER_FAST_PLANNERS: found {planners!r}, expected a folder")
    return Settings(
        backend=backend,
        threads=int(threads) if threads else None,
        cores=tuple(map(int, cores)),
        isa=isa,
        planners=Path(planners) if planners else None,
    )


SETTINGS = read()
