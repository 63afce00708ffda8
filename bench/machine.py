"""Where and on what something was measured: CPU, versions, commit, and how quiet the machine was."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffuser_fast import settings

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = Path(__file__).with_name("scratch")  # git ignores it: what was compiled, and what single runs leave
PACKAGES = (
    "diffuser-fast", "numpy", "torch", "triton", "onnxruntime", "openvino", "onnx", "ai-edge-litert", "mnn", "jax",
    "iree-base-compiler", "iree-base-runtime",
)  # fmt: skip
FLAGS = (
    "avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni",
    "amx_bf16", "asimd", "sve",
)  # fmt: skip
RECORDS = ("bench/results", "evaluation/results", "tests/margins")
NOISY = 0.3  # work of others per core, above which a result carries a warning


def fingerprint() -> dict[str, Any]:
    """The machine, in plain values. Nothing that names it or its owner."""
    first = _read("/proc/cpuinfo").split("\n\n")[0]  # the first core
    info = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in first.splitlines())}
    flags = info.get("flags", info.get("Features", "")).split()
    memory = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo"))
    caches = [[_read(f / n) for n in ("level", "type", "size")] for f in sorted(Path(CPU0).glob("cache/index*"))]
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(), "arch": platform.machine(),
        "isa": [flag for flag in FLAGS if flag in flags], "cores": os.cpu_count(), "usable_cores": usable_cores(),
        "caches": {f"L{level} {kind}": size for level, kind, size in caches if kind != "Instruction"},
        "memory_gib": round(int(memory[1]) / 1024**2, 1) if memory else None,
        "governor": _read(f"{CPU0}/cpufreq/scaling_governor") or None, "virtual": "hypervisor" in flags,
        "system": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
    }  # fmt: skip


def compiled(source: Path, flags: Sequence[str], into: Path) -> Path | None:
    """A C file of the suite's, compiled where it was not yet or has changed. None without a compiler."""
    compiler = next((found for found in map(shutil.which, (os.environ.get("CC", "gcc"), "clang", "cc")) if found), None)
    if compiler is None:
        return None
    if not into.exists() or into.stat().st_mtime < source.stat().st_mtime:
        with whole(into) as part:
            subprocess.run([compiler, *flags, str(source), "-o", str(part)], check=True, capture_output=True)
    return into


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that is there whole or not at all: another suite may be using it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    yield part
    part.replace(path)


def versions() -> dict[str, str | None]:
    """Of the packages that are measured."""
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return {name: found.get(name) for name in PACKAGES}


def commit() -> tuple[str | None, bool]:
    """Hash of the checkout's commit, and whether tracked files differ from it. (None, True) without git.

    Records do not count: a run that appends its own would make the next one's tree another.
    """

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ".", *(f":!{folder}" for folder in RECORDS))
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return None, True


def nameless(text: str) -> str:
    """A message without the folders of this machine: "no /some/where/probe" -> "no probe"."""
    return re.sub(r"(?<![\w.])(/[\w.+@-]+){2,}", lambda found: found.group().rpartition("/")[2], text)


def slug(device: str) -> str:
    """A name as part of a file name: "Intel(R) Xeon(R) CPU @ 2.00GHz" -> "intel-xeon-2-00ghz"."""
    words = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|\d+-core", " ", device.lower())
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "unknown"


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(settings.usable_cores())


@dataclass
class Quiet:
    """How quiet the machine is inside a with-statement. own: CPU seconds of ours so far.

    others: work of other processes per core meanwhile, 0 for none, 1 for all of it; None where the system does not say.
    """

    own: Callable[[], float] = time.process_time
    others: float | None = None

    def __enter__(self) -> Quiet:
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        (busy, own, uptime), (busy_then, own_then, then) = self._now(), self._before
        if uptime > then:
            self.others = max(0.0, (busy - busy_then - own + own_then) / (uptime - then) / (os.cpu_count() or 1))

    @property
    def warning(self) -> str | None:
        """What a result says when the machine was not quiet."""
        if self.others is not None and self.others > NOISY:
            return f"others used {self.others:.0%} of every core meanwhile: do not trust these times"
        return None

    def _now(self) -> tuple[float, float, float]:
        """CPU seconds of the whole machine so far (stolen time included), ours of them, and its uptime."""
        ticks = [int(word) for word in _read("/proc/stat").split("\n")[0].split()[1:9]]
        uptime = float((_read("/proc/uptime") or "0").split()[0])
        return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK"), self.own(), uptime  # less idle and waiting


def peak_mib() -> float | None:
    """The most resident memory that this process ever held. (Linux's ru_maxrss would begin with the parent's.)"""
    found = re.search(r"VmHWM:\s+(\d+) kB", _read("/proc/self/status"))
    return int(found[1]) / 1024 if found else None


CPU0 = "/sys/devices/system/cpu/cpu0"


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
