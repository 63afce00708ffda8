"""``python -m tests.arm.estimates``: what LLVM's models of two cores say of the NEON kernels' inner loops.

Estimates, not measurements: llvm-mca counts how many cycles the instructions of a loop take where every read hits the
first cache. Beside them stands the roof, the cycles that its multiply-adds take of pipes that do nothing else. LLVM 19
has no model of the Cortex-A78 (for that name it takes the A57's): Neoverse N1, a Cortex-A76, stands for it, whose pipes
are the same or fewer (Arm's software optimization guides).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .check import ROOT, TRIPLE

FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-ffp-contract=off", "-fPIC", "-Icsrc"]  # as in csrc/capi/Makefile
CORES = {"neoverse-n1": 2, "cortex-a57": 1}  # -> vector multiply-adds a cycle
LEAST = 0.7  # of the roof, that the convolution of five taps must reach
# What is looked at: a name, the instruction set, and how the function's name begins.
KERNELS = (
    ("convolution, 4 rows x 16 channels", "neon", "void df::neon::convolve<df::neon::Float32, 4, 1>("),
    ("convolution, 8 rows x 8 channels", "neon", "void df::neon::convolve<df::neon::Float32, 2, 2>("),
    ("packed bf16, 4 rows x 8 channels", "neon", "void df::neon::convolve<df::neon::PackedBf16, 2, 1>("),
    ("packed bf16, BFDOT, 4 rows x 16", "neon_bf16", "void df::neon_bf16::convolve<df::neon_bf16::PackedBf16, 4, 1>("),
    ("packed bf16, BFDOT, 8 rows x 8", "neon_bf16", "void df::neon_bf16::convolve<df::neon_bf16::PackedBf16, 2, 2>("),
    ("int8, SDOT, 4 rows x 16 channels", "neon_dot", "void df::neon_dot::convolve<df::neon_dot::Int8, 4, 1>("),
    ("int8, SDOT, 8 rows x 8 channels", "neon_dot", "void df::neon_dot::convolve<df::neon_dot::Int8, 2, 2>("),
)
PRODUCTS = re.compile(r"^\s*(fmla|bfdot|sdot)\s")


@dataclass(frozen=True)
class Loop:
    """An innermost loop: its instructions."""

    lines: tuple[str, ...]

    @property
    def products(self) -> int:
        """Vector multiply-adds."""
        return sum(bool(PRODUCTS.match(line)) for line in self.lines)


def assembly(isa: str) -> str:
    """The kernels of an instruction set, names demangled."""
    compiler = f"{TRIPLE}-g++"
    done = subprocess.run([compiler, *FLAGS, "-S", f"csrc/cpu/target_{isa}.cc", "-o", "-"], cwd=ROOT, check=True,
                          capture_output=True, text=True)  # fmt: skip
    return subprocess.run(["c++filt"], input=done.stdout, check=True, capture_output=True, text=True).stdout


def loops(text: str, function: str) -> Iterator[Loop]:
    """The innermost loops of the function whose name begins so."""
    begin = text.index(f"\n{function}")
    lines = text[begin + 1 : text.index("\n\t.size", begin)].split("\n")
    at = {line[:-1]: i for i, line in enumerate(lines) if re.match(r"\.L\w+:$", line)}
    for end, line in enumerate(lines):
        jump = re.match(r"\s*(?:b\.?\w*|cbn?z|tbn?z)\s.*?(\.L\w+)$", line)
        if jump is None or at.get(jump[1], end) >= end:
            continue
        body = lines[at[jump[1]] + 1 : end + 1]
        if not any(re.match(r"\.L\w+:$", one) for one in body):
            yield Loop(tuple(one for one in body if one.startswith("\t") and not one.startswith("\t.")))


def cycles(loop: Loop, core: str, mca: str) -> float:
    """Of one iteration, where many follow each other."""

    def total(iterations: int) -> int:
        with tempfile.NamedTemporaryFile("w", suffix=".s") as file:
            file.write("\n".join(re.sub(r"\.L\w+$", "0", line) for line in loop.lines) + "\n")
            file.flush()
            command = [mca, "-mtriple=aarch64", f"-mcpu={core}", "-mattr=+bf16,+dotprod"]
            command += [f"-iterations={iterations}", file.name]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return int(re.search(r"Total Cycles:\s+(\d+)", said)[1])

    return (total(600) - total(100)) / 500


def main() -> int:
    """A table; 1 where the convolution of five taps is further from its roof than it may be."""
    mca = next((found for found in map(shutil.which, ("llvm-mca-19", "llvm-mca-16", "llvm-mca")) if found), None)
    if mca is None:
        print("no llvm-mca here (apt: llvm-19): no estimates", file=sys.stderr)
        return 2
    texts = {isa: assembly(isa) for isa in {isa for _, isa, _ in KERNELS}}
    print(f"estimates by {Path(mca).name}; share: of the cycles that the multiply-adds alone would take")
    print(f"{'inner loop':36} {'core':12} {'instructions':>12} {'products':>8} {'cycles':>7} {'share':>6}")
    low = False
    for name, isa, function in KERNELS:
        loop = max(loops(texts[isa], function), key=lambda one: one.products)
        for core, rate in CORES.items():
            took = cycles(loop, core, mca)
            if "DOT" in name and core == "cortex-a57":
                continue  # which has none
            share = loop.products / rate / took
            low |= share < LEAST and name.startswith("convolution")
            print(f"{name:36} {core:12} {len(loop.lines):12} {loop.products:8} {took:7.1f} {share:6.0%}")
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
