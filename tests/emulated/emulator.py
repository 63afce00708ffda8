"""Kernels of csrc/cuda compiled by the host's compiler for the emulator (csrc/cuda/emu.h), and what tests ask of it."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CUDA = ROOT / "csrc" / "cuda"
BUILT = ROOT / "build" / "emulator"
# As nvcc rounds: no product and sum become one. The machine's own instructions, for fmaf is a function elsewhere.
FLAGS = ["-std=c++17", "-O2", "-g1", "-fPIC", "-DDF_EMULATE", "-ffp-contract=off", "-fno-strict-aliasing"]
FLAGS += ["-Wall", "-Werror", "-march=native", f"-I{ROOT / 'csrc'}"]
WATCHED = [
    "-fsanitize=thread",
    "--param",
    "tsan-instrument-func-entry-exit=0",
    "-Wno-tsan",
    "-Wno-unknown-pragmas",
    "-x",
    "c++",
]


def compiler() -> str | None:
    """g++ or CXX; the calls by which accesses are seen are gcc's way of compiling them."""
    return shutil.which(os.environ.get("CXX", "g++"))


def built(kernels: Path) -> Path:
    """The library of one source of kernels, compiled anew only when something that it is made of has changed."""
    sources = [*sorted(CUDA.glob("*")), *sorted((ROOT / "csrc").glob("*.h")), kernels]
    digest = hashlib.sha256(repr([compiler(), FLAGS, WATCHED]).encode())
    for source in sources:
        if source.is_file():
            digest.update(source.read_bytes())
    library = BUILT / f"{kernels.stem}-{digest.hexdigest()[:16]}.so"
    BUILT.mkdir(parents=True, exist_ok=True)
    with open(BUILT / f"{kernels.stem}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            for old in BUILT.glob(f"{kernels.stem}-*.so"):
                old.unlink()
            own = {CUDA / f"{name}.cc": ["-O3"] for name in ("emu", "emu_cluster")}
            parts = {**own, CUDA / "emu_calls.cc": [], kernels: WATCHED}
            objects = []
            running = []
            for source, more in parts.items():
                objects.append(library.with_suffix(f".{source.stem}.o"))
                command = [compiler(), *FLAGS, *more, "-c", str(source), "-o", str(objects[-1])]
                running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            for process in running:
                _, errors = process.communicate()
                assert process.returncode == 0, errors
            partial = library.with_suffix(".partial")
            subprocess.run([compiler(), "-shared", "-Wl,-Bsymbolic", "-o", partial, *objects, "-ldl"], check=True)
            for one in objects:
                one.unlink()
            partial.rename(library)
    return library


class Emulator:
    """One library of kernels. Settings are its own; it belongs to one thread."""

    def __init__(self, kernels: Path) -> None:
        self.path = built(kernels)
        self.library = ctypes.CDLL(str(self.path))
        for name in ("df_emu_report", "df_emu_sites"):
            getattr(self.library, name).restype = ctypes.c_char_p
        self.library.df_emu_watch.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self.schedule(0)

    def schedule(self, seed: int, without: str = "") -> None:
        """The schedule: 0 for lock step. without: an ordering that is left out, one of ``orderings``."""
        self.library.df_emu_settings(seed, without.encode())

    def watch(self, name: str, array, *, known: bool = True) -> None:
        """Global memory to be watched. known: whether all of it may be read."""
        self.library.df_emu_watch(name.encode(), array.ctypes.data, array.nbytes, known)

    def forget(self) -> None:
        """Nothing global is watched any more."""
        self.library.df_emu_forget()

    def report(self) -> list[str]:
        """What went wrong since the last call."""
        return [self._located(line) for line in self.library.df_emu_report().decode().splitlines()]

    def orderings(self) -> list[str]:
        """Those that have been come by since the last call: "file:line kind"."""
        return self.library.df_emu_sites().decode().splitlines()

    def _located(self, line: str) -> str:
        """Offsets into the library as lines of source, where there is addr2line."""
        words = line.split(" ")
        if shutil.which("addr2line"):
            for n, word in enumerate(words):
                if word.strip(",").startswith("+0x"):
                    command = ["addr2line", "-e", str(self.path), word.strip(",")[1:]]
                    found = subprocess.run(command, capture_output=True, text=True).stdout.strip()
                    words[n] = f"({Path(found.split(' ')[0]).name})"
        return " ".join(words)


@cache
def emulator(kernels: Path) -> Emulator:
    """The emulator of a source, one per process."""
    return Emulator(kernels)
