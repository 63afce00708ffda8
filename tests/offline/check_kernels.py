"""``python -m tests.offline.check_kernels``: every GPU kernel compiled for every architecture, without a GPU.

What `make gpu-check` runs. It fails on what does not compile, on registers spilled to memory, and on more shared memory
than a block may have. Triton's cache on disk remembers what was compiled. Exit codes: 0 all fine; 1 a kernel is not; 2
bad options.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from bench.machine import SCRATCH, usable_cores
from bench.problem import problem
from bench.tables import aligned
from bench.workloads import Workload, workloads
from diffuser_fast import backends
from diffuser_fast.core.ops import ACTS
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder, Program

BATCHES = (1, 64, 1024)
# KiB of shared memory that a block may have (CUDA C++ Programming Guide, technical specifications per capability).
SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
REGISTERS = 65536  # of a multiprocessor, on all of them
# The tile of a program, by the names that kernels give its sides; see kernels/. Then sizes worth a word in a table.
SIDES = ("NB", "BM", "HT", "GB", "CP", "BK", "HP", "BLOCK", "BR", "BH", "WP")
SIZES = ("B", "H", "H_IN", "CI", "CO", "CR", "C", "K", "STRIDE", "MODE", "ACT", "OPERAND", "DOT", "SPLIT_K")
# --ci is what a change is most likely to break, in the time there is: of every kernel in every variant (its pointers,
# flags and modes) the largest and the smallest tile, in two precisions, for these workloads on two architectures; and
# the largest tile of every kernel on the others.
CI_WORKLOADS = ("hopper/guided/b64", "halfcheetah/guided/b64", "maze2d-large/plan/b1")
CI_PRECISIONS, CI_CAPABILITIES = ("float32", "fp16"), (80, 90)
SIZE = (32, 32, 64)  # channels, times and batch of Programs that no named workload has: hopper's first level


@dataclass(frozen=True)
class Task:
    """A specialisation (backends/triton/launches.py: a kernel with everything fixed that is fixed when it is launched)
    and an architecture, 90 for sm_90."""

    one: Any
    capability: int

    @property
    def name(self) -> str:
        """Of the kernel."""
        return self.one.kernel.fn.__name__

    @property
    def variant(self) -> str:
        """All that changes the kernel's code rather than its sizes: types, missing pointers, flags, modes."""
        return repr([self.one.signature, [(n, v) for n, v in self.one.constexprs.items() if type(v) is not int]])

    @property
    def weight(self) -> int:
        """Elements of a program's tile: the largest is the likeliest to spill."""
        found = 1
        for side in SIDES:
            found *= self.one.constexprs.get(side, 1)
        return found

    @property
    def shape(self) -> str:
        """For people: "H32 CI64 CO128 K5; tile NB2 BM32"."""
        given = self.one.constexprs
        sizes = [f"{n}{given[n]}" if isinstance(given[n], int) else str(given[n]) for n in SIZES if given.get(n)]
        return f"{' '.join(sizes)}; tile {' '.join(f'{n}{given[n]}' for n in SIDES if n in given)}"


@dataclass(frozen=True)
class Compiled:
    """registers: per thread. shared: bytes per block. stack: bytes per thread. spills: instructions that store to or
    load from local memory. error: the compiler's last word; then all else is 0."""

    registers: int = 0
    shared: int = 0
    warps: int = 0
    stack: int = 0
    spills: int = 0
    error: str | None = None

    def complaint(self, capability: int) -> str | None:
        """Why this may not be shipped for that architecture, in a sentence, or None."""
        most = SHARED_KIB[capability] * 1024
        if self.error is not None:
            return f"does not compile: {self.error}"
        if self.stack or self.spills:
            return f"spills: {self.stack} bytes of stack, {self.spills} accesses to local memory"
        if self.shared > most:
            return f"{self.shared} bytes of shared memory, a block may have {most}"
        if self.registers * self.warps * 32 > REGISTERS:
            return f"{self.registers} registers in {self.warps} warps are more than a multiprocessor has"
        return None


def compiled(task: Task) -> Compiled:
    """Compile and read. Needs neither a GPU nor a driver."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    one = task.one
    # As the just-in-time compiler spells them, which lists constants too (before 3.7 those that are strings): then its
    # cache's entries are the same.
    kinds = object if tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 7) else str
    constants = {name for name, value in one.constexprs.items() if isinstance(value, kinds)}
    attrs = {(i,): [] for i, name in enumerate(one.kernel.arg_names) if name in constants} | dict(one.attrs)
    source = ASTSource(one.kernel, one.signature, one.constexprs, dict(sorted(attrs.items())))
    try:
        made = triton.compile(source, GPUTarget("cuda", task.capability, 32), options=one.options)
    except Exception as error:  # a compiler fails in many ways; all of them are findings
        return Compiled(error=_innermost(error))
    registers, stack, spills = _read(made.asm["cubin"])
    return Compiled(registers, made.metadata.shared, made.metadata.num_warps, stack, spills)


def tasks(chosen: Iterable[Workload], precisions: Iterable[str], capabilities: Iterable[int]) -> list[Task]:
    """What these need compiled, each once, the largest tile of each kernel first."""
    found: dict[tuple[str, int], Task] = {}
    for workload in chosen:
        loop = problem(replace(workload, batch=1)).loop  # kernels know nothing of the arrays of a batch
        for precision, capability in product(precisions, capabilities):
            sizes = {"batch": workload.batch, "precision": precision, "capability": capability}
            for one in backends.get("triton").specialisations(loop, **sizes):
                found.setdefault((one.key, capability), Task(one, capability))
    return sorted(found.values(), key=lambda task: -task.weight)


def for_ci() -> list[Task]:
    """The declared part."""
    chosen = [workloads().find(name) for name in CI_WORKLOADS]
    main = grouped(tasks(chosen, CI_PRECISIONS, CI_CAPABILITIES), "name", "capability", "variant")
    others = tasks(chosen[:1], CI_PRECISIONS, [c for c in SHARED_KIB if c not in CI_CAPABILITIES])
    ends = [task for many in main for task in dict.fromkeys((many[0], many[-1]))]
    rest = [*(many[0] for many in grouped(others, "name", "capability")), *unnamed(CI_PRECISIONS[:1], CI_CAPABILITIES)]
    return _once([*ends, *rest])


def unnamed(precisions: Iterable[str], capabilities: Iterable[int]) -> list[Task]:
    """What no named workload launches: other activations, tables of each trajectory, ops without a convolution."""
    triton, (_, _, batch) = backends.get("triton"), SIZE
    programs = [(program, triton.TableForm()) for act in ACTS for program in _programs(act)]
    programs += [(program, triton.TableForm(each=True, per_sample=True)) for program in _programs(ACTS[0])]
    found = []
    for (program, form), precision, capability in product(programs, precisions, capabilities):
        sizes = {"batch": batch, "precision": precision, "capability": capability, "tables": form}
        found += [Task(one, capability) for one in triton.program_specialisations(program, **sizes)]
    return _once(found)


def _programs(act: str) -> list[Program]:
    """With this activation: a network and its gradient, fused and op by op."""
    channels, length, _ = SIZE
    b = Builder((channels, length))
    x = b.step_bias(b.act(b.group_norm(b.conv(0, "a", channels, k=5), "na", 8), act))
    x = b.act(b.step_bias(b.conv(x, "b", channels, k=5)), act)
    x = b.add(b.act(b.group_norm(b.conv(x, "c", channels, k=5), "nc", 8), act), 0)
    net = b.done(b.conv(x, "head", 1, k=length, pad=0))
    b = Builder((channels, length))
    x = b.step_bias(b.act(b.group_norm(0, "n", 8), act))
    alone = b.done(b.add(x, 0))  # no convolution: every op is a launch of its own
    return [fuse(net), fuse(vjp(net)), alone, vjp(alone), fuse(vjp(alone))]


def _once(found: Iterable[Task]) -> list[Task]:
    return list({(task.one.key, task.capability): task for task in found}.values())


def grouped(found: Iterable[Task], *names: str) -> list[list[Task]]:
    """Those that agree in these attributes."""
    groups: dict[tuple, list[Task]] = {}
    for task in found:
        groups.setdefault(tuple(getattr(task, name) for name in names), []).append(task)
    return list(groups.values())


def everything(options: argparse.Namespace) -> list[Task]:
    """Every network at every batch, in every precision, for every architecture, or what was chosen of them."""
    networks = {name: config for name, config in workloads().networks.items() if name != "tiny"}
    precisions = list(backends.get("triton").PRECISIONS)
    for what, asked, there in (("network", options.network, networks), ("precision", options.precision, precisions)):
        if unknown := [name for name in asked or () if name not in there]:
            raise ValueError(f"--{what}: found {unknown[0]!r}, expected one of {', '.join(there)}")
    chosen = [
        Workload(networks[name], "guided" if networks[name].guide else "plan", batch)
        for name, batch in product(options.network or networks, options.batch or BATCHES)
    ]
    wanted, capabilities = options.precision or precisions, options.capability or SHARED_KIB
    return _once([*tasks(chosen, wanted, capabilities), *unnamed(wanted, capabilities)])


def main(words: list[str] | None = None) -> int:
    """Compile, print the table and the complaints."""
    options = _parser().parse_args(words)
    if os.environ.get("TRITON_INTERPRET") == "1":
        print("gpu-check: TRITON_INTERPRET=1 is set: unset it, nothing can be compiled under it", file=sys.stderr)
        return 2
    os.environ.setdefault("TRITON_CACHE_DIR", str(SCRATCH / "triton"))
    began = time.monotonic()
    try:
        wanted = for_ci() if options.ci else everything(options)
    except ValueError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    print(f"{len(wanted)} specialisations, {options.workers} at a time", flush=True)
    found: dict[Task, Compiled] = {}
    with ThreadPoolExecutor(options.workers) as pool:
        for task, made in zip(wanted, pool.map(compiled, wanted), strict=True):
            found[task] = made
            if (wrong := made.complaint(task.capability)) is not None:
                print(f"{task.name} for sm_{task.capability} ({task.shape}): {wrong}", flush=True)
            if len(found) % 50 == 0:
                print(f"[{len(found)}/{len(wanted)}] {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print("\n".join(table(found)))
    wrong = sum(made.complaint(task.capability) is not None for task, made in found.items())
    print(f"{len(found)} compiled in {time.monotonic() - began:.0f} s, {wrong} not fit to ship")
    return 1 if wrong or not found else 0


def table(found: dict[Task, Compiled]) -> list[str]:
    """Of every kernel on every architecture the one with the most registers and the one with the most shared memory."""
    lines, shapes = [["kernel", "for", "registers", "shared KiB", "warps"]], ["shape"]
    for many in sorted(grouped(found, "name", "capability"), key=lambda many: (many[0].name, many[0].capability)):
        for task in dict.fromkeys(max(many, key=lambda t: getattr(found[t], what)) for what in ("registers", "shared")):
            made = found[task]
            numbers = [str(made.registers), f"{made.shared / 1024:.1f}", str(made.warps)]
            lines.append([task.name, f"sm_{task.capability}", *numbers])
            shapes.append(task.shape)
    return [f"{line}  {shape}" for line, shape in zip(aligned(lines), shapes, strict=True)]


def _innermost(error: BaseException) -> str:
    """Triton tells of one error as the cause of another, each under the code it stood in: the last of them, briefly."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" ^")] or ["no word"]
    return f"{type(error).__name__}: {lines[-1][:300]}"


def _read(cubin: bytes) -> tuple[int, int, int]:
    """Registers, bytes of stack, and accesses to local memory. LOCAL of the report stays 0 when registers spill."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [tool, "--dump-resource-usage", "-sass", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", said)
    if found is None:
        raise RuntimeError(f"cuobjdump says nothing of registers: {said[:300]}")
    return int(found[1]), int(found[2]), len(re.findall(r"\b(?:STL|LDL)\b", said))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument("--ci", action="store_true", help="the part that fits into CI's time")
    more = {"action": "append", "metavar": "ONE"}
    parser.add_argument("--network", help="of workloads.toml; again for more (all)", **more)
    parser.add_argument("--batch", type=int, help="trajectories at once; again for more (1, 64 and 1024)", **more)
    parser.add_argument("--precision", help="again for more (all)", **more)
    parser.add_argument("--capability", type=int, choices=SHARED_KIB, help="again for more (all)", **more)
    parser.add_argument("--workers", type=int, default=max(1, min(8, usable_cores())), help="threads at once")
    return parser


if __name__ == "__main__":
    sys.exit(main())
