"""Every op of the CPU engine against its roof: what the roofline plot is made of.

The engine times its own ops (``CpuEngine(profile=True)``), as its first thread sees them, inside whole calls: weights
and activations lie where they lie in real life. The roof of an op is the smaller of the machine's FMA rate and of what
reading allows: a convolution's weights, any other op's operands. How near an op comes to it is told by the operations
that it needs: products with padding, which GFLOP/s counts as it does for everybody, are work that no engine has to do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from diffuser_fast import backends
from diffuser_fast.core.ops import op_flops, op_weight_bytes
from diffuser_fast.core.program import Op, Program

from . import machine
from .ladder import warning
from .peers import Settings
from .problem import problem
from .roofline import Ceiling
from .workloads import Workload

SECONDS = 1.0  # of calls, after as long a warm-up
FEWEST = 20


def layers(workload: Workload, settings: Settings, ceiling: Ceiling) -> list[dict[str, Any]]:
    """Fields of "layer" rows, in the order of execution. ValueError if the engine cannot run here."""
    if workload.kind not in ("step", "gradient"):
        raise ValueError(f"--layers: {workload.name} is a whole plan; name a step or a gradient")
    given = problem(workload)
    if (reason := backends.why_not("cpu", given.loop)) is not None:
        raise ValueError(f"--layers: {reason}")
    engine = backends.get("cpu").CpuEngine(
        given.loop, workload.batch, threads=settings.threads, isa=settings.isa, profile=True
    )

    def run() -> int:
        calls, began = 0, time.perf_counter()
        while calls < FEWEST or time.perf_counter() - began < SECONDS:
            engine(given.known, given.tape, x=given.x)
            calls += 1
        return calls

    run()
    engine.times()
    before, calls = machine.Busy.now(), run()
    disturbance = machine.others(before, machine.Busy.now())
    name = "denoiser" if workload.kind == "step" else "gradient"
    program = given.loop.denoiser.fused if workload.kind == "step" else given.loop.guide.gradient
    seen = {"workload": workload.name, "candidate": f"cpu {engine.isa}", "program": name}
    seen |= {"others": disturbance, "warning": warning(disturbance)}
    return [{**seen, **fields} for fields in _layers(program, engine.times()[name], calls, workload.batch, ceiling)]


def _layers(
    program: Program, times: list[tuple[Op, float]], calls: int, batch: int, ceiling: Ceiling
) -> Iterator[dict[str, Any]]:
    for index, (op, seconds) in enumerate(times):
        flops = op_flops(op, program.shapes) * batch
        operands = batch * 4 * sum(math.prod(program.shapes[v]) for v in op.ins)
        read = op_weight_bytes(op, program.weights) if op.kind.startswith("conv") else operands
        us = max(seconds / calls * 1e6, 1e-3)
        needed = flops * _needed(op, program)
        gflops, intensity = flops / us * 1e-3, needed / read
        roof = min(ceiling.gflops, intensity * ceiling.weights_gbs)
        yield {
            "index": index, "op": op.kind, "shape": shape_of(op, program), "flops": flops, "bytes": read, "us": us,
            "gflops": gflops, "intensity": intensity, "bound_gflops": roof, "percent": 100 * needed / us * 1e-3 / roof,
        }  # fmt: skip


def _needed(op: Op, program: Program) -> float:
    """The part of a convolution's products that meet data and not padding; 1 for other ops."""
    if not op.kind.startswith("conv"):
        return 1.0
    (_, read), (_, made), a = program.shapes[op.ins[0]], program.shapes[op.outs[0]], op.attrs
    few, many = (read, made) if a["transposed"] else (made, read)  # an adjoint's products are its convolution's
    met = sum(0 <= t * a["stride"] - a["pad"] + j < many for t in range(few) for j in range(a["k"]))
    return met / (few * a["k"])


def shape_of(op: Op, program: Program) -> str:
    """Channels in and out, taps, stride or transposition, length of the result: "14>32 k5 H32"."""
    (inputs, _), (outputs, length) = program.shapes[op.ins[0]], program.shapes[op.outs[0]]
    words = [f"{inputs}>{outputs}"]
    if "k" in op.attrs:
        words += [f"k{op.attrs['k']}"] + ([f"s{op.attrs['stride']}"] if op.attrs["stride"] > 1 else [])
        words += ["T"] if op.attrs["transposed"] else []
    return " ".join([*words, f"H{length}"])
