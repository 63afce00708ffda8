"""Every op of the CPU engine against its roof.

The engine times its own ops (``CpuEngine(profile=True)``), as its first thread sees them, inside whole calls: weights
and activations lie where they lie in real life. The roof of an op is the smaller of the machine's FMA rate and of what
reading allows: a convolution's weights, any other op's operands. How near an op comes to it is told by the operations
that it needs: products with padding, which GFLOP/s counts as it does for everybody, are work that no engine has to do.
"""

from __future__ import annotations

import math
import time
from typing import Any

from diffuser_fast import backends
from diffuser_fast.core.ops import op_flops, op_weight_bytes
from diffuser_fast.core.program import Op, Program

from . import machine, roofline
from .peers import Settings
from .problem import problem
from .records import Sheet
from .workloads import Workload

SECONDS = 1.0  # of calls, after as long a warm-up
FEWEST = 20
LEAST = 0.05  # of the time: a class of ops that takes less is not named
COLUMNS = ["class of op", "ops", "of the time, %", "GFLOP/s", "of its roof, %"]


def layers(workload: Workload, settings: Settings, ceiling: dict[str, Any]) -> tuple[Sheet, list[dict[str, Any]]]:
    """By class of op, and every op in the order of execution. ValueError if the engine cannot run here."""
    given = problem(workload)
    if (reason := backends.why_not("cpu", given.loop)) is not None or not ceiling:
        raise ValueError(f"--layers: {reason or 'the roof was not measured: there is no C compiler'}")
    ready = backends.get("cpu").CpuEngine
    engine = ready(given.loop, workload.batch, threads=settings.threads, isa=settings.isa, profile=True)

    def run() -> int:
        calls, began = 0, time.perf_counter()
        while calls < FEWEST or time.perf_counter() - began < SECONDS:
            engine(given.inpainting, given.tape, x=given.x)
            calls += 1
        return calls

    run()
    engine.times()
    with machine.Quiet() as quiet:
        calls = run()
    name = "denoiser" if workload.kind == "step" else "gradient"
    program = given.loop.denoiser.fused if workload.kind == "step" else given.loop.guide.gradient
    ops = [_op(op, seconds / calls, program, workload.batch, ceiling) for op, seconds in engine.times()[name]]
    return Sheet("layers", workload.name, COLUMNS, classes(ops), quiet.others, quiet.warning), ops


def classes(ops: list[dict[str, Any]]) -> list[list[Any]]:
    """Rows of ``COLUMNS``, ops of a kind together: a convolution's is its taps and its resampling."""
    total, groups = sum(op["us"] for op in ops), {}
    for op in ops:
        words = [word for word in op["shape"].split()[1:] if not word.startswith("H")]
        groups.setdefault(" ".join([op["op"].replace("conv_block", "conv"), *words]), []).append(op)
    small = [name for name, many in groups.items() if sum(op["us"] for op in many) < LEAST * total]
    rest = [op for name in small for op in groups.pop(name)]
    rows = []
    for name, many in {**groups, **({"all others": rest} if rest else {})}.items():
        us, flops = (sum(op[field] for op in many) for field in ("us", "flops"))
        at_roof = sum(op["percent"] * op["us"] for op in many) / us
        rows.append([name, len(many), round(100 * us / total), round(flops / us * 1e-3), round(at_roof)])
    return rows


def _op(op: Op, seconds: float, program: Program, batch: int, ceiling: dict[str, Any]) -> dict[str, Any]:
    flops, us = op_flops(op, program.shapes) * batch, max(seconds * 1e6, 1e-3)
    operands = batch * 4 * sum(math.prod(program.shapes[v]) for v in op.ins)
    read = op_weight_bytes(op, program.weights) if op.kind.startswith("conv") else operands
    needed = flops * _needed(op, program)
    roof = min(ceiling["gflops"], needed / read * roofline.weights_gbs(ceiling))
    return {
        "op": op.kind, "shape": _shape(op, program), "flops": flops, "bytes": read, "us": us,
        "gflops": flops / us * 1e-3, "roof_gflops": roof, "percent": 100 * needed / us * 1e-3 / roof,
    }  # fmt: skip


def _needed(op: Op, program: Program) -> float:
    """The part of a convolution's products that meet data and not padding; 1 for other ops."""
    if not op.kind.startswith("conv"):
        return 1.0
    (_, read), (_, made), a = program.shapes[op.ins[0]], program.shapes[op.outs[0]], op.attrs
    few, many = (read, made) if a["transposed"] else (made, read)  # an adjoint's products are its convolution's
    met = sum(0 <= t * a["stride"] - a["pad"] + j < many for t in range(few) for j in range(a["k"]))
    return met / (few * a["k"])


def _shape(op: Op, program: Program) -> str:
    """Channels in and out, taps, stride or transposition, length of the result: "14>32 k5 H32"."""
    (inputs, _), (outputs, length), a = program.shapes[op.ins[0]], program.shapes[op.outs[0]], op.attrs
    words = [f"{inputs}>{outputs}"]
    if "k" in a:
        words += [f"k{a['k']}", *([f"s{a['stride']}"] if a["stride"] > 1 else []), *(["T"] if a["transposed"] else [])]
    return " ".join([*words, f"H{length}"])
