"""What launching costs on this machine: a kernel, a node of a graph, a small copy and a wait.

Beside a node of a graph stands what the engine's own model of latency assumes (backends/triton/tiling.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from bench.clocks import CLOCKS
from bench.records import Sheet
from bench.remote import sentence
from diffuser_fast.backends.triton.tiling import MODEL

BLOCK = 256
COLUMNS = ["constant", "us", "the model assumes, us", "why not"]


@triton.jit
def touch(x_ptr, BLOCK: tl.constexpr, EARLY: tl.constexpr):
    """x += 1, as little as a dependent kernel can do. EARLY: the next may start at once, and waits for this one's end
    (programmatic dependent launch)."""
    if EARLY:
        gdc_launch_dependents()
    at = tl.arange(0, BLOCK)
    if EARLY:
        gdc_wait()
    tl.store(x_ptr + at, tl.load(x_ptr + at) + 1.0)


def measure(clock: str, kernels: int = 1000, repeats: int = 9) -> Sheet:
    """Medians of ``repeats``. What cannot be measured says why."""
    on = CLOCKS[clock]()
    x, host = torch.zeros(BLOCK, device=on.device), torch.zeros(BLOCK, pin_memory=on.device == "cuda")

    def kernel(early: bool) -> None:
        if early and on.device == "cuda" and torch.cuda.get_device_capability() < (9, 0):
            raise ValueError("dependent launch needs compute capability 9.0")
        touch[(1,)](x, BLOCK=BLOCK, EARLY=early, **({"launch_pdl": True} if early else {}))

    def copies() -> None:
        x.copy_(host, non_blocking=True)
        host.copy_(x, non_blocking=True)

    def graph(call: Callable[[], Any]) -> float:  # of kernels, each of which reads what the last one wrote
        return median(on.capture(lambda: [call() for _ in range(kernels)]), on.between_events) / kernels

    def issued(call: Callable[[], Any]) -> float:
        return median(lambda: [call() for _ in range(kernels)], on.lap) / kernels

    def waited(call: Callable[[], Any]) -> float:
        return median(lambda: (call(), on.wait()), on.lap)

    def median(call: Callable[[], Any], lap: Callable[..., float]) -> float:
        lap(call)
        return statistics.median(lap(call) for _ in range(repeats)) * 1e3

    wanted: tuple[tuple[str, float | None, Callable[[], float]], ...] = (
        ("kernel in a graph", MODEL["launch"], lambda: graph(partial(kernel, False))),
        ("kernel in a graph, dependent launch", MODEL["launch"], lambda: graph(partial(kernel, True))),
        ("torch op in a graph", None, lambda: graph(partial(x.add_, 1))),
        ("Triton kernel from the host", None, lambda: issued(partial(kernel, False))),
        ("torch op from the host", None, lambda: issued(partial(x.add_, 1))),
        ("graph of one op, waited for", None, lambda: waited(on.capture(partial(x.add_, 1)))),
        ("1 KiB up and down, waited for", None, lambda: waited(copies)),
        ("waiting for an idle device", None, lambda: waited(lambda: None)),
    )
    rows = []
    for name, assumed, measured in wanted:
        try:
            rows.append([name, measured(), assumed, None])
        except Exception as error:  # a constant that cannot be had says so
            rows.append([name, None, assumed, sentence(error)])
    return Sheet("constants", "launching", COLUMNS, rows)
