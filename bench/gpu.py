"""One run of `make gpu`: which GPU it is, checks, then constants, then the suite, in the time there is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from diffuser_fast import backends
from diffuser_fast.backends.cuda import PRECISIONS as CUDA_PRECISIONS
from diffuser_fast.backends.gpu import model

from . import machine
from .peers import Candidate, Settings, candidates
from .peers.ours import engines
from .recording import Console
from .records import Log
from .remote import Failure, Remote
from .repetitions import GPU, REHEARSAL
from .suite import measured, opened
from .workloads import Workload, workloads

sys.path.append(str(machine.ROOT / "tests"))  # `on_gpu`, as tests call it: a package `tests` may be somebody's
from on_gpu import modelled, sanitizer
from on_gpu.checks import BACKEND, PARTS, checked

CHECKING = 0.32  # of all the time, at most
CUDA_CHECKING, SANITIZING = 0.2, 0.2  # of what is left then
MODELLED = ("hopper/guided/b1", "hopper/guided/b64")
PRECISIONS = ("float32", "fp16")  # of ours, beside every workload; the first has all
REHEARSED = ("float32", "cpu", 0, 1, "add 2x3")  # interpreted kernels take seconds
ASKED = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "temperature.gpu")
NO_GPU = {"name": "rehearsal", "memory_gib": None}


def run(options: Namespace) -> tuple[list[Log], bool]:
    """Do it: the log, and whether everything that was checked is right. ValueError where nothing can be measured."""
    end, small = time.monotonic() + 60 * options.minutes, options.rehearse

    def left() -> float:
        return max(0.0, end - time.monotonic())

    settings = Settings("rehearsal" if small else "cuda", machine.usable_cores())
    settings.apply()
    chosen = workloads().select(options.only, workloads().sets["rehearsal" if small else "gpu"])
    if not small and (reason := backends.why_not(BACKEND, None, "cuda")) is not None:
        raise ValueError(f"{reason} (make gpu PYTHON=... names another Python)")
    gpu = NO_GPU if small else fingerprint()
    options.results = options.results or (machine.SCRATCH / "rehearsals" if small else None)
    log = opened(options, settings, os.getloadavg()[0], machine={**machine.fingerprint(), "gpu": gpu})
    console, right = Console(options.json), True
    console.say(", ".join(f"{name} {value}" for name, value in {**gpu, **log.run.versions}.items() if value))
    if not options.no_checks:
        over, cuda = (1 - CHECKING) * left(), settings.on.device
        ours = [one.precision for one in engines(settings) if one.backend == BACKEND]
        jobs = [(precision, cuda, part, PARTS) for precision in ours for part in range(PARTS)]
        # Two cores and two GiB of the device's memory for each process.
        at_once = max(1, min(8, machine.usable_cores() // 2, int((gpu["memory_gib"] or 16) // 2)))
        console.say(f"checks: {at_once} at a time, {left() - over:.0f} s at most")
        sheet = checked([REHEARSED] if small else jobs, at_once, lambda: max(0.0, left() - over), console.say)
        console.show(log.append(sheet), log.run)
        right = not any(sheet.column("failed"))
        if not small:
            right &= cuda_checked(log, console, left, at_once, cuda)
    if options.no_suite:
        return [log], right
    with Remote(import_module, "on_gpu.constants") as there:
        try:
            sheet = there.call("measure", settings.clock, *((3, 1) if small else ()), limit=left())
            console.show(log.append(sheet), log.run)
            known = modelled.known(sheet)
            console.show(log.append(modelled.sheet(workloads().select(None, MODELLED), known)), log.run)
            if known and not small:
                model.remember(gpu["name"], known)
                console.say(f"{model.MEASURED.name}: the engine's choices on {gpu['name']} follow {known}")
        except Failure as error:
            console.say(f"what launching costs was not measured: {error}")
    how, everyone = REHEARSAL if small else GPU, candidates(settings, options.candidates)
    for case in measured(cases(chosen, everyone, small), settings, how, log, console, left):
        right &= not any(r.ours and r.exactness == "wrong" for r in case.results)
    return [log], right


def cuda_checked(log: Log, console: Console, left: Callable[[], float], at_once: int, device: str) -> bool:
    """The CUDA engine, launched in each way: its checks, and NVIDIA's tools over tiny plans. Whether all is right."""
    if (reason := backends.why_not("cuda", None, device)) is not None:
        console.say(f"cuda: {reason}")
        return True
    right, over = True, (1 - CUDA_CHECKING) * left()
    for launches in sanitizer.ways():
        jobs = [(one, device, part, PARTS, None, launches) for one in CUDA_PRECISIONS for part in range(PARTS)]
        sheet = checked(jobs, at_once, lambda: max(0.0, left() - over), console.say, f"cuda {launches}")
        console.show(log.append(sheet), log.run)
        right &= not any(sheet.column("failed"))
    sheet = sanitizer.measure(SANITIZING * left() / 6)
    console.show(log.append(sheet), log.run)
    return right and not any(sheet.column("errors"))


def cases(
    chosen: Sequence[Workload], everyone: Sequence[Candidate], small: bool
) -> Iterator[tuple[Workload, list[Candidate]]]:
    """Every workload beside what is ready in seconds, then every one again beside what must be compiled."""
    slow = [one for one in everyone if one.name.startswith("torch.compile")]
    quick = [one for one in everyone if one not in slow]
    few = [one for one in quick if not one.ours or one.precision in (PRECISIONS[:1] if small else PRECISIONS)]
    for n, workload in enumerate(chosen):
        yield workload, few if n or small else quick
    for workload in chosen:
        yield workload, slow if small else [*slow, *(one for one in few if one.ours or one.name == "torch eager")]


def fingerprint() -> dict[str, Any]:
    """The current GPU, in plain values; its clocks (MHz), power limit (W) and temperature where nvidia-smi says."""
    import torch

    p = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "name": p.name, "capability": f"{p.major}.{p.minor}", "multiprocessors": p.multi_processor_count,
        "memory_gib": round(p.total_memory / 2**30, 1), "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(), **settings_of(f"GPU-{getattr(p, 'uuid', '')}"),
    }  # fmt: skip


def settings_of(uuid: str) -> dict[str, str | None]:
    """What nvidia-smi says of one GPU; None each where it says nothing."""
    command = ["nvidia-smi", f"--id={uuid}", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split(",")
    except (OSError, subprocess.SubprocessError):
        said = []
    cells = [cell.strip() for cell in said] if len(said) == len(ASKED) else [None] * len(ASKED)
    return {name.replace(".", "_"): cell for name, cell in zip(ASKED, cells, strict=True)}
