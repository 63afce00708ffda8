"""Where and on what a row was measured: CPU, versions, commit, and how quiet the machine was."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("diffuser-fast", "numpy", "torch", "triton", "onnxruntime", "openvino", "onnx")
FLAGS = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512vl",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "amx_bf16",
    "asimd",
    "sve",
)
NOISY = 0.3  # work of others per core, above which a row carries a warning


def fingerprint() -> dict[str, Any]:
    """The machine, in plain values. Nothing that names it or its owner."""
    info = _cpuinfo()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "arch": platform.machine(),
        "isa": [flag for flag in FLAGS if flag in info.get("flags", info.get("Features", "")).split()],
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "caches": _caches(),
        "memory_gib": _memory_gib(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtual": "hypervisor" in info.get("flags", ""),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str | None]:
    """Of the packages that are measured."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def commit() -> tuple[str | None, bool]:
    """Hash of the checkout's commit, and whether tracked files differ from it. (None, True) without git."""
    try:
        head = _git("rev-parse", "HEAD").strip()
        return head, bool(_git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.CalledProcessError):
        return None, True


def nameless(text: str) -> str:
    """A message without the folders of this machine: "no /some/where/probe" -> "no probe"."""
    return re.sub(r"(?<![\w.])(/[\w.+@-]+){2,}", lambda found: found.group().rpartition("/")[2], text)


def slug(cpu: str) -> str:
    """A CPU's name as part of a file name: "Intel(R) Xeon(R) CPU @ 2.00GHz" -> "intel-xeon-2-00ghz"."""
    words = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|\d+-core", " ", cpu.lower())
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "unknown"


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """The load average of the last minute. Only meaningful before anything of ours has run."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


@dataclass(frozen=True)
class Busy:
    """Seconds of CPU time so far: of the whole machine (stolen time included), and of this process and its children."""

    machine: float
    own: float
    at: float

    @classmethod
    def now(cls) -> Busy | None:
        """None where the system does not say."""
        line = _read("/proc/stat")
        uptime = _read("/proc/uptime")
        if not line or not uptime:
            return None
        user, nice, system, _idle, _wait, irq, softirq, stolen = map(int, line.split("\n")[0].split()[1:9])
        busy = (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")
        return cls(busy, sum(os.times()[:4]), float(uptime.split()[0]))


def others(before: Busy | None, after: Busy | None) -> float | None:
    """Work of other processes per core between two moments: 0 is a quiet machine, 1 a machine that is all theirs."""
    if before is None or after is None or after.at <= before.at:
        return None
    theirs = (after.machine - before.machine) - (after.own - before.own)
    return max(0.0, theirs / (after.at - before.at) / (os.cpu_count() or 1))


def rss_mib() -> float | None:
    """Resident memory of this process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", _read("/proc/self/status") or "")
    return int(found.group(1)) / 1024 if found else None


def _git(*args: str) -> str:
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _cpuinfo() -> dict[str, str]:
    """/proc/cpuinfo of the first core."""
    first = (_read("/proc/cpuinfo") or "").split("\n\n")[0]
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in first.splitlines())}


def _caches() -> dict[str, str]:
    """Level and kind -> size of one, as the first core sees it: {"L1d": "32K", "L2": "1024K", "L3": "32768K"}."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(str(folder / name)) for name in ("level", "type", "size"))
        if level and kind != "Instruction" and size:
            found[f"L{level}{'d' if kind == 'Data' else ''}"] = size
    return found


def _memory_gib() -> float | None:
    found = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo") or "")
    return round(int(found.group(1)) / 1024**2, 1) if found else None
