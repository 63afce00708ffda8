"""``python -m tests.arm.wheel``: the wheel for Linux on AArch64, cross-compiled, in dist/. What `make wheel-arm` runs.

This Python's headers serve: they are the same on both but for pyconfig.h, whose differences are not about types. The
platform's tag is read from the engine itself. Nothing of the wheel runs here: `make arm` tests what it is made of.
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
LIBSTDCXX = 29  # GLIBCXX_3.4.29, of GCC 11: what a manylinux of glibc 2.34 may want (PEP 600, auditwheel's policies)


def build(folder: str) -> Path:
    """The wheel, tagged linux_aarch64."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX").replace(os.uname().machine, "aarch64")
    environment = {
        **os.environ, "CC": f"{TRIPLE}-gcc", "CXX": f"{TRIPLE}-g++", "LDFLAGS": "-s",
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
    if (found := max(minors(library, "GLIBCXX_3.4."), default=0)) > LIBSTDCXX:
        raise ValueError(f"the engine needs GLIBCXX_3.4.{found}, expected at most {LIBSTDCXX}")
    return max(ORDINARY, *minors(library, "GLIBC_2."))


def minors(library: bytes, version: str) -> list[int]:
    """The last numbers of all the symbol versions that begin so."""
    return [int(found) for found in re.findall(re.escape(version).encode() + rb"(\d+)\0", library)]


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
