"""``python -m tests.offline.check_cuda``: the CUDA kernels compiled for every GPU, and what the compiler made of them.

What `make gpu-check` runs beside check_kernels.py; needs nvcc, and no GPU. It reads the machine code, so that a kernel
which compiles because nothing is left of it does not pass: matrix instructions where products are of halves, none where
they are of float32; no trap in the place of what this GPU has not; no spilled registers; first-level caches given up
nowhere but where the last block to come ranks the plans and at barriers of clusters; and where blocks send each other
what they compute, no fence of all memory in between. Then the extension is built as an installation does it, for
one GPU, and imported. Exit codes: 0 all fine; 1 something is not; 2 there is no nvcc.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.machine import ROOT, usable_cores
from bench.tables import aligned

KERNELS = ROOT / "csrc" / "cuda" / "kernels.cu"
ARCHS = ("80", "86", "89", "90a", "100a", "120")  # as in setup.py, whose flags these are
FLAGS = ("-std=c++17", "-O3", "-fmad=false", "-Xptxas=-v", f"-I{ROOT / 'csrc'}")
EXPECTED = tuple((kernel, operand) for kernel in ("stage_kernel", "loop_kernel") for operand in ("Halves", "Floats"))
BUILT_FOR = "90a"  # the extension, to see that it can be
CLUSTERED = ("cluster_kernel", "async_kernel")
CLUSTERS = 90  # the first that has them; before, the kernel's body is empty
SENDING = ("STAS", "SYNCS.ARRIVE", "SYNCS.PHASECHK")  # an asynchronous store, an arrival, a wait
THREADS, REGISTERS = 256, 65536  # of a block; of a multiprocessor


@dataclass
class Function:
    """What the compiler says of a kernel, and its instructions by name."""

    registers: int = 0
    spills: int = 0
    shared: int = 0
    instructions: Counter = field(default_factory=Counter)

    def count(self, prefix: str) -> int:
        """How many instructions begin so."""
        return sum(n for name, n in self.instructions.items() if name.startswith(prefix))


def expected(arch: str) -> tuple[tuple[str, str], ...]:
    """The kernels that there must be for a GPU."""
    if int(arch.rstrip("af")) < CLUSTERS:
        return EXPECTED
    return (*EXPECTED, *((kernel, operand) for kernel in CLUSTERED for operand in ("Halves", "Floats")))


def complaints(functions: dict[str, Function], expected: Iterable[tuple[str, str]] = EXPECTED) -> list[str]:
    """Why these may not be shipped, in sentences."""
    found = []
    for kernel, operand in expected:
        names = [name for name in functions if kernel in name and operand in name]
        if len(names) != 1:
            found.append(f"{kernel} of {operand}: found {len(names)} of them, expected one")
            continue
        found += [f"{kernel} of {operand}: {wrong}" for wrong in _wrong(functions[names[0]], kernel, operand)]
    return found


def _wrong(f: Function, kernel: str, operand: str) -> Iterable[str]:
    if not f.registers or not f.instructions:
        yield "the compiler says nothing of it"
        return
    matrix = f.count("HMMA")
    if operand == "Halves" and not matrix:
        yield "no matrix instruction is left (HMMA)"
    if operand == "Floats" and (matrix or not f.count("FFMA")):
        yield f"{matrix} matrix instructions and {f.count('FFMA')} of float32, expected the latter alone"
    if f.count("BPT.TRAP"):
        yield "a trap (BPT.TRAP): part of it was not made for this GPU"
    if f.spills:
        yield f"{f.spills} bytes of registers spilled"
    if f.registers * THREADS > REGISTERS:
        yield f"{f.registers} registers in {THREADS} threads are more than a multiprocessor has"
    barriers = f.count("UCGABAR_WAIT")
    if kernel in CLUSTERED and not barriers:
        yield "no barrier of a cluster is left (UCGABAR_WAIT)"
    if kernel == "async_kernel":
        if missing := [name for name in SENDING if not f.count(name)]:
            yield f"nothing is sent, or nobody waits for it: no {', '.join(missing)}"
        if (fences := f.count("MEMBAR.ALL.GPU")) > f.count("ATOMG.E.ADD") + barriers:
            yield f"{fences} fences of all memory (MEMBAR.ALL.GPU): one of them is in the handover"
    if f.count("CCTL.IVALL") > f.count("ATOM") + barriers:
        yield f"{f.count('CCTL.IVALL')} times the first-level cache is given up, for {f.count('ATOM')} atomics"


def read(said: str, sass: str) -> dict[str, Function]:
    """Functions by mangled name, from what ptxas said (-v) and from a disassembly (cuobjdump -sass)."""
    found: dict[str, Function] = {}
    for part in re.split(r"Compiling entry function '", said)[1:]:
        f = found.setdefault(part.split("'")[0], Function())
        if numbers := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part):
            f.spills = int(numbers[1]) + int(numbers[2])
        if numbers := re.search(r"Used (\d+) registers", part):
            f.registers = int(numbers[1])
        if numbers := re.search(r"(\d+) bytes smem", part):
            f.shared = int(numbers[1])
    for part in re.split(r"Function : ", sass)[1:]:
        f = found.setdefault(part.split()[0], Function())
        f.instructions.update(re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)", part))
    return found


Made = tuple[dict[str, Function], str | None]


def compiled(source: Path, arch: str, compiler: str, more: Iterable[str] = ()) -> Made:
    """The functions of a source for one GPU; or what the compiler had to say instead."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernels.cubin"
        target = f"-gencode=arch=compute_{arch},code=sm_{arch}"
        command = [compiler, *FLAGS, *more, target, "-cubin", str(source), "-o", str(cubin)]
        done = subprocess.run(command, capture_output=True, text=True)
        said = done.stdout + done.stderr
        if done.returncode:
            return {}, said.strip()[-2000:] or "nvcc said nothing"
        sass = subprocess.run([_cuobjdump(compiler), "-sass", cubin], capture_output=True, text=True, check=True).stdout
    return read(said, sass), None


TRIED = """
import ctypes
from diffuser_fast import _cuda
from diffuser_fast.backends.gpu.arguments import Arguments
assert "{folder}" in _cuda.__file__, _cuda.__file__
assert _cuda.ARGUMENTS_BYTES == ctypes.sizeof(Arguments), "the record differs in size"
print(_cuda.why_not() or "a device is there")
"""


def built(compiler: str) -> tuple[str, str | None]:
    """What the extension, built and imported in a folder of its own, says of this machine; what went wrong, or None."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "csrc"):
            (Path(folder) / name).symlink_to(ROOT / name)
        for source in (ROOT / "diffuser_fast").rglob("*.py"):
            (at := Path(folder) / source.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            at.symlink_to(source)
        environment = os.environ | {
            "DIFFUSER_FAST_BUILD": "cuda", "DIFFUSER_FAST_CUDA_ARCHS": BUILT_FOR, "CUDACXX": compiler,
            "DIFFUSER_FAST_CXXFLAGS": "", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        for command in (["setup.py", "-q", "build_ext", "--inplace"], ["-c", TRIED.format(folder=folder)]):
            done = subprocess.run(
                [sys.executable, *command], cwd=folder, env=environment | {"PYTHONPATH": folder}, capture_output=True,
                text=True,
            )  # fmt: skip
            if done.returncode:
                return "", (done.stdout + done.stderr).strip()[-2000:]
    return done.stdout.strip(), None


def nvcc() -> str | None:
    """The compiler, found as setup.py does: named, on the path, or in NVIDIA's packages beside this Python."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    packages = sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/cu*/bin/nvcc"))
    named = (os.environ.get("CUDACXX"), *(f"{home}/bin/nvcc" for home in homes), "nvcc", *map(str, packages))
    return next((path for name in named if name and (path := shutil.which(name))), None)


def _cuobjdump(compiler: str) -> str:
    """Beside the compiler, or with Triton."""
    import triton

    with_triton = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return shutil.which(str(Path(compiler).with_name("cuobjdump"))) or str(with_triton)


def main(words: list[str] | None = None) -> int:
    """Compile for all, print a table and the complaints."""
    parser = argparse.ArgumentParser(prog="python -m tests.offline.check_cuda", description=__doc__)
    parser.add_argument("--arch", action="append", choices=ARCHS, help="again for more (all)")
    parser.add_argument("--workers", type=int, default=max(1, min(6, usable_cores())), help="compilers at once")
    options = parser.parse_args(words)
    if (compiler := nvcc()) is None:
        print("check_cuda: no nvcc was found: pip install -r requirements/cuda.txt", file=sys.stderr)
        return 2
    lines = [["kernel", "for", "registers", "spills", "HMMA", "FFMA", "instructions"]]
    began, wrong = time.monotonic(), 0
    archs = options.arch or ARCHS
    with ThreadPoolExecutor(options.workers) as pool:
        for arch, (functions, error) in zip(archs, pool.map(partial(_one, compiler), archs)):
            sentences = [f"does not compile: {error}"] if error else complaints(functions, expected(arch))
            wrong += len(sentences)
            for sentence in sentences:
                print(f"sm_{arch}: {sentence}", flush=True)
            for kernel, operand in expected(arch):
                for name, f in functions.items():
                    if kernel in name and operand in name:
                        counts = (f.registers, f.spills, f.count("HMMA"), f.count("FFMA"), f.instructions.total())
                        lines.append([f"{kernel} of {operand}", f"sm_{arch}", *map(str, counts)])
    print("\n".join(aligned(lines)))
    said, error = built(compiler)
    wrong += error is not None
    print(
        f"the extension cannot be built: {error}"
        if error
        else f"the extension was built and imported, and says: {said}"
    )
    print(f"compiled for {len(archs)} GPUs in {time.monotonic() - began:.0f} s, {wrong} complaints")
    return 1 if wrong else 0


def _one(compiler: str, arch: str) -> Made:
    return compiled(KERNELS, arch, compiler)


if __name__ == "__main__":
    sys.exit(main())
