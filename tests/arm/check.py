"""``python -m tests.arm.check``: the engine and the C library for AArch64, cross-compiled and run in an emulator.

What `make arm` runs. QEMU runs programs of AArch64 here as a CPU of one's choice: cortex-a57 has the vectors that all
have (``neon``), neoverse-n1 products of bytes, max products of bfloat16 too. It shows what is right, never what is
fast; --estimates prints what LLVM's model of a core says of the inner loops (estimates.py). Exit codes: 0 fine; 1
something is not; 2 no tools.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "arm"
TRIPLE = "aarch64-linux-gnu"
TOOLS = (f"{TRIPLE}-g++", f"{TRIPLE}-gcc", "qemu-aarch64")
INSTALL = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "g++-aarch64-linux-gnu", "qemu-user"]
# What the engine computes, and that neither the batch nor the number of threads shows: op by op, networks, plans.
SUITES = ["tests/csrc/test_functions.py", "tests/csrc/test_programs.py", "tests/csrc/test_plans.py",
          "tests/backends/test_conformance_ops.py", "tests/backends/test_conformance_loops.py"]  # fmt: skip
# The same for what differs between instruction sets of AArch64, and the C library.
SHORT = ["tests/arm/bundles.py", "tests/csrc/test_bf16.py", "tests/csrc/test_int8.py", "tests/csrc/test_winograd.py"]
# But what is about this process and the engine inside it, or has nothing to do with the CPU.
NOT = ["arguments_are_checked", "bad_arguments", "after_a_fork", "more_threads_than_cores", "textbook", "scalar"]
# CPU of the emulator -> the instruction sets that it must have, the one that is tested, and by what.
CPUS = {
    "cortex-a57": (["scalar", "neon"], "neon", SHORT + SUITES),
    "neoverse-n1": (["scalar", "neon", "neon_dot"], "neon_dot", ["tests/csrc/test_int8.py"]),
    "max": (["scalar", "neon", "neon_dot", "neon_bf16"], "neon_bf16", SHORT),
}


def missing() -> list[str]:
    """The tools that are not here."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def build() -> None:
    """Everything, in build/arm."""
    make = ["make", "-s", "-f", "csrc/capi/Makefile", f"-j{len(os.sched_getaffinity(0))}", f"OUT={BUILT}"]
    tools = [f"{name}={TRIPLE}-{tool}" for name, tool in {"CXX": "g++", "CC": "gcc", "AR": "ar"}.items()]
    subprocess.run([*make, *tools, "CXXFLAGS=-Werror", "all", "examples", "remote"], cwd=ROOT, check=True)


def emulated(cpu: str, *command: str | Path) -> list[str]:
    """A command of AArch64 as one of this machine."""
    return ["qemu-aarch64", "-cpu", cpu, "-L", f"/usr/{TRIPLE}", *map(str, command)]


def isas(cpu: str) -> list[str]:
    """The instruction sets that the engine finds on this CPU."""
    from .remote import Process

    return [name.decode() for name in Process(emulated(cpu, BUILT / "remote")).ask("isas")]


def tested(cpu: str, isa: str, suites: list[str]) -> bool:
    """Whether the suites pass with this instruction set of this CPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", "--benchmark-disable"]
    command += [
        f"--bounds={ROOT / 'build' / 'bounds'}",
        f"--remote={' '.join(emulated(cpu, BUILT / 'remote'))}",
        *suites,
        "-k",
        " and ".join(f"not {name}" for name in NOT),
    ]
    environment = {**os.environ, "DIFFUSER_FAST_ISA": isa, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


def exported(path: Path) -> Path:
    """A bundle with the plans of this machine's own engine."""
    script = (
        "import sys, diffuser_fast as dfx; from capi.checkpoints import planner; dfx.export(planner(), sys.argv[1])"
    )
    environment = {**os.environ, "DIFFUSER_FAST_ISA": "", "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, env=environment, check=True)
    return path


def main(arguments: list[str] | None = None) -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="make arm ARGS=...", description=__doc__.split("\n\n")[1])
    parser.add_argument("--cpu", choices=CPUS, help="one CPU of the emulator; default: all")
    parser.add_argument("--ci", action="store_true", help="install missing tools by apt; where that fails, say so")
    parser.add_argument("--estimates", action="store_true", help="instead: cycles of the inner loops by LLVM's models")
    parser.add_argument("tests", nargs="*", help="files or options of pytest, instead of what is tested by default")
    options, more = parser.parse_known_args(arguments)
    if options.ci and missing():
        subprocess.run(INSTALL, stdout=subprocess.DEVNULL, check=False)
    if tools := missing():
        print(f"make arm: there is no {', '.join(tools)} here; as root: {' '.join(INSTALL)}", file=sys.stderr)
        if options.ci:
            print("make arm: SKIPPED, and they could not be installed: nothing is known of AArch64")
        return 0 if options.ci else 2
    if options.estimates:
        from . import estimates

        return estimates.main()
    began = time.monotonic()
    build()
    failed = []
    for cpu in [options.cpu] if options.cpu else CPUS:
        expected, isa, suites = CPUS[cpu]
        found = isas(cpu)
        print(f"\n==> {cpu}: the engine has {', '.join(found)}; tested: {isa}", flush=True)
        if found != expected or not tested(cpu, isa, [*options.tests, *more] or suites):
            failed.append(cpu)
    print(f"make arm: {'FAILED on ' + ', '.join(failed) if failed else 'passed'}, {time.monotonic() - began:.0f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
