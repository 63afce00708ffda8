"""One specialisation compiled for one architecture, and what the machine code says of itself."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .specialisation import Specialisation

# KiB of shared memory that a block may have (CUDA C++ Programming Guide, technical specifications per capability).
SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
REGISTERS = 65536  # of a multiprocessor, on all of them


@dataclass(frozen=True)
class Compiled:
    """registers: per thread. shared: bytes per block. warps, stages: of the launch. stack: bytes per thread. spills:
    instructions that store to or load from local memory. error: the compiler's last word; then all else is 0."""

    registers: int = 0
    shared: int = 0
    warps: int = 0
    stages: int = 0
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


def compiled(specialisation: Specialisation, capability: int) -> Compiled:
    """Compile and read. Needs neither a GPU nor a driver; RuntimeError under Triton's interpreter."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError("TRITON_INTERPRET=1: the interpreter has replaced the compiler in this process")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function, constants = specialisation.function, dict(specialisation.constants)
    source = ASTSource(function, dict(specialisation.signature), constants, _attributes(specialisation))
    try:
        made = triton.compile(source, GPUTarget("cuda", capability, 32), options=dict(specialisation.options))
    except Exception as error:  # a compiler fails in many ways; all of them are findings
        return Compiled(error=_innermost(error))
    registers, stack, spills = _read(made.asm["cubin"])
    meta = made.metadata
    return Compiled(registers, meta.shared, meta.num_warps, meta.num_stages, stack, spills)


def _attributes(specialisation: Specialisation) -> dict[tuple[int], list]:
    """As the just-in-time compiler spells them, which lists strings too: then its cache's entries are the same."""
    constants, found = dict(specialisation.constants), {}
    for i, (name, _) in enumerate(specialisation.signature):
        if name in specialisation.aligned:
            found[(i,)] = [["tt.divisibility", 16]]
        elif isinstance(constants.get(name), str):
            found[(i,)] = []
    return found


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
        said = [
            subprocess.run([tool, what, file.name], capture_output=True, text=True, check=True).stdout
            for what in ("--dump-resource-usage", "-sass")
        ]
    found = re.search(r"REG:(\d+) STACK:(\d+)", said[0])
    if found is None:
        raise RuntimeError(f"cuobjdump says nothing of registers: {said[0][:300]}")
    return int(found[1]), int(found[2]), len(re.findall(r"\b(?:STL|LDL)\b", said[1]))
