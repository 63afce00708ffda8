"""``python -m tests.arm.wheel``: the wheel for Linux on AArch64, cross-compiled, in dist/. What `make wheel-arm` runs.

This Python's headers serve: they are the same on both but for pyconfig.h, whose differences are not about types.
libstdc++ goes into the engine, so that the platform's tag, read from the engine itself, is about the C library alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from .check import INSTALL, ROOT, TRIPLE, missing

ORDINARY = 17  # glibc 2.17: what every manylinux of AArch64 has


def build(folder: str) -> Path:
    """The wheel, tagged linux_aarch64."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX").replace(os.uname().machine, "aarch64")
    environment = {
        **os.environ, "CC": f"{TRIPLE}-gcc", "CXX": f"{TRIPLE}-g++", "LDFLAGS": "-static-libstdc++ -static-libgcc -s",
        "SETUPTOOLS_EXT_SUFFIX": suffix, "_PYTHON_HOST_PLATFORM": "linux-aarch64", "DIFFUSER_FAST_BUILD": "cpu",
    }  # fmt: skip
    # From a source distribution: what lies in build/ is of this machine.
    command = [sys.executable, "-m", "build", "-q", "--no-isolation", "--outdir", folder, "."]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return next(Path(folder).glob("*.whl"))


def glibc(library: bytes) -> int:
    """The minor version of the C library 2.x that an ELF file of AArch64 wants; ValueError for anything else."""
    if library[:4] != b"\x7fELF" or int.from_bytes(library[18:20], "little") != 183:  # e_machine: EM_AARCH64
        raise ValueError("the engine is no library of AArch64")
    if b"GLIBCXX_" in library:
        raise ValueError("the engine needs a libstdc++")
    return max(ORDINARY, *(int(found) for found in re.findall(rb"GLIBC_2\.(\d+)\0", library)))


def main() -> int:
    """Build, look at the engine inside, tag; 2 without the compiler."""
    if tools := [tool for tool in missing() if not tool.startswith("qemu")]:
        print(f"make wheel-arm: there is no {', '.join(tools)} here; as root: {' '.join(INSTALL)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(folder)
        names = zipfile.ZipFile(wheel).namelist()
        engine = next(name for name in names if name.startswith("diffuser_fast/_cpu."))
        tag = f"manylinux_2_{glibc(zipfile.ZipFile(wheel).read(engine))}_aarch64"
        command = [sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", tag, str(wheel)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wheel = next(Path(folder).glob("*.whl"))
        (ROOT / "dist").mkdir(exist_ok=True)
        made = ROOT / "dist" / wheel.name
        made.write_bytes(wheel.read_bytes())
    print(f"{made.relative_to(ROOT)}: {Path(engine).name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
