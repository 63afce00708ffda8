"""``diffuser-fast doctor --realtime``: what this machine lacks for a control loop, and what would help."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..settings import usable_cores

ENOUGH = 256 << 20  # bytes of locked memory


@dataclass(frozen=True)
class Finding:
    """what: the question; found: the answer; good: None where it cannot be told; cure: what would help."""

    what: str
    found: str
    good: bool | None
    cure: str = ""


def examine(root: Path = Path("/")) -> list[dict[str, Any]]:
    """All findings as plain records. root: where the kernel's files are, for tests."""
    return [asdict(check(root)) for check in CHECKS]


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _kernel(root: Path) -> Finding:
    real = _text(root / "sys/kernel/realtime") == "1" or "PREEMPT_RT" in platform.version()
    cure = "a kernel with PREEMPT_RT bounds how long it keeps a core to itself"
    return Finding("preemption", "PREEMPT_RT" if real else "not PREEMPT_RT", real, "" if real else cure)


def _governor(root: Path) -> Finding:
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    found = sorted({_text(path) or "?" for path in files})
    if not found:
        return Finding("clock of the cores", "not told (a virtual machine?)", None)
    good = found == ["performance"]
    cure = "cpupower frequency-set -g performance: a plan after a rest takes half as long again on a slow clock"
    return Finding("clock of the cores", ", ".join(found), good, "" if good else cure)


def _fifo(root: Path) -> Finding:
    allowed: list[bool] = []

    def ask() -> None:  # in a thread of its own: it ends with it
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            allowed.append(False)
        else:
            allowed.append(True)

    if not hasattr(os, "sched_setscheduler"):
        return Finding("SCHED_FIFO", "no such thing here", None)
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    cure = "`rtprio 60` for this user in /etc/security/limits.d, or CAP_SYS_NICE; set it before the planner is made"
    return Finding("SCHED_FIFO", "allowed" if allowed[0] else "not allowed", allowed[0], "" if allowed[0] else cure)


def _throttling(root: Path) -> Finding:
    runtime, period = (_text(root / f"proc/sys/kernel/sched_rt_{name}_us") for name in ("runtime", "period"))
    if runtime is None or period is None:
        return Finding("throttling of SCHED_FIFO", "not told", None)
    if runtime == "-1":
        return Finding("throttling of SCHED_FIFO", "off", True)
    share = 100 * int(runtime) / int(period)
    cure = "plan less of the time than that, or sysctl kernel.sched_rt_runtime_us=-1; else a plan stops for the rest"
    return Finding("throttling of SCHED_FIFO", f"beyond {share:g} % of a second", None, cure)


def _memlock(root: Path) -> Finding:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    good = limit == resource.RLIM_INFINITY or limit >= ENOUGH
    found = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit >> 10} KiB"
    return Finding("locked memory", found, good, "" if good else "`memlock unlimited` in /etc/security/limits.d")


def _isolated(root: Path) -> Finding:
    isolated = _text(root / "sys/devices/system/cpu/isolated")
    if isolated is None:
        return Finding("isolated cores", "not told", None)
    cure = "isolcpus=, nohz_full= and rcu_nocbs= at boot keep others off a core; name it by cores="
    return Finding("isolated cores", isolated or "none", bool(isolated), "" if isolated else cure)


def _cores(root: Path) -> Finding:
    usable = len(usable_cores())
    cure = "one core is shared by the control loop and its planner: each waits for the other"
    return Finding("cores of this process", str(usable), usable > 1, "" if usable > 1 else cure)


def _quota(root: Path) -> Finding:
    quota = _text(root / "sys/fs/cgroup/cpu.max")
    if quota is None:
        return Finding("quota of processor time", "not told", None)
    good = quota.startswith("max")
    cure = "a container with a quota (cpu.max) stops all threads when it is used up: give it cores (cpuset) instead"
    return Finding("quota of processor time", "none" if good else quota, good, "" if good else cure)


def _autogroup(root: Path) -> Finding:
    enabled = _text(root / "proc/sys/kernel/sched_autogroup_enabled")
    if enabled is None:
        return Finding("autogroups", "none", True)
    cure = "nice changes nothing between sessions while they are on: sysctl kernel.sched_autogroup_enabled=0, or FIFO"
    return Finding("autogroups", "on" if enabled == "1" else "off", enabled != "1", cure if enabled == "1" else "")


CHECKS: tuple[Callable[[Path], Finding], ...] = (
    _kernel, _governor, _cores, _isolated, _quota, _fifo, _throttling, _memlock, _autogroup,
)  # fmt: skip
