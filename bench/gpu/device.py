"""Which GPU this is, how it is set, and why nothing can be measured on it."""

from __future__ import annotations

import subprocess
from typing import Any

OLDEST = (2, 6)  # of torch
ASKED = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "temperature.gpu")


def why_not() -> str | None:
    """Why nothing can be measured here, in a sentence, or None."""
    import torch

    version = torch.__version__.split("+")[0]
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return f"PyTorch {version} is too old: {'.'.join(map(str, OLDEST))} is the oldest that this project supports"
    if torch.version.cuda is None:
        return f"this PyTorch ({torch.__version__}) was built without CUDA (make gpu PYTHON=... names another Python)"
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} finds no NVIDIA GPU: none is there, or its driver is missing or too old"
    try:
        torch.zeros(1, device="cuda").add_(1).item()
    except RuntimeError as error:
        return f"the GPU does not run PyTorch {torch.__version__}: {str(error).splitlines()[0]}"
    return None


def fingerprint() -> dict[str, Any]:
    """The current device, in plain values; its clocks (MHz), power limit (W) and temperature where nvidia-smi says."""
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
