"""Whether there is an NVIDIA driver, without loading torch: what every start on a machine without one asks."""

from __future__ import annotations

import ctypes
import functools
import os


@functools.cache
def why_no_gpu() -> str | None:
    """A sentence, or None where a driver can be loaded, or where Triton is told to interpret its kernels instead."""
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        return None
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver here (libcuda.so.1 cannot be loaded)"
    return None
