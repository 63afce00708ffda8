"""The constants of launching, on this machine: what a kernel, a node of a graph, a small copy and a wait cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from .device import Device, Turn
from .model import Machine
from .rung import failure

NODE, NODE_PDL = "kernel in a graph", "kernel in a graph, dependent launch"
BLOCK = 256
COPY = 1024  # float32 numbers


def constants(device: Device, capability: tuple[int, int], kernels: int = 1000, repeats: int = 9) -> Iterator[dict]:
    """Fields of "gpu_constant" rows, microseconds, medians of ``repeats``. What cannot be measured says why."""
    assumed = Machine()
    x = torch.zeros(BLOCK, device=device.name)
    measured: tuple[tuple[str, float | None, str, Callable[[], float]], ...] = (
        (NODE, assumed.node, f"events around a graph of {kernels}, each reading the last one's output",
         lambda: _graph(device, lambda: _touch(x), kernels, repeats)),
        (NODE_PDL, assumed.node_pdl, "the same with programmatic dependent launch",
         lambda: _graph(device, lambda: _touch(x, capability), kernels, repeats)),
        ("torch op in a graph", None, f"events around a graph of {kernels} add_",
         lambda: _graph(device, lambda: x.add_(1), kernels, repeats)),
        ("Triton kernel from the host", None, f"wall clock of issuing {kernels}",
         lambda: _issued(device, lambda: _touch(x), kernels, repeats)),
        ("torch op from the host", None, f"wall clock of issuing {kernels} add_",
         lambda: _issued(device, lambda: x.add_(1), kernels, repeats)),
        ("waiting for an idle device", None, "wall clock of a synchronize", lambda: _waited(device, _nothing, repeats)),
        ("torch op, waited for", None, "wall clock of add_ and a synchronize",
         lambda: _waited(device, lambda: x.add_(1), repeats)),
        ("graph of one kernel, waited for", None, "wall clock of a replay and a synchronize",
         lambda: _waited(device, device.capture(lambda: x.add_(1)), repeats)),
        ("4 KiB up and down, waited for", None, "wall clock of two copies from and to pinned memory and a synchronize",
         lambda: _waited(device, _copies(device), repeats)),
        ("`.item()`", None, "wall clock of one number fetched", lambda: _waited(device, lambda: x[0].item(), repeats)),
    )  # fmt: skip
    for name, guess, how, measure in measured:
        fields: dict[str, Any] = {"name": name, "us": None, "assumed_us": guess, "how": how, "why_not": None}
        try:
            fields["us"] = measure()
        except Exception as error:  # a constant that cannot be had is a row that says so
            fields["why_not"] = str(error) if isinstance(error, Unsupported) else failure(error)
        yield {**fields, "rehearsal": device.rehearsal}


class Unsupported(RuntimeError):
    """A sentence."""


def machine(found: list[dict], multiprocessors: int) -> Machine:
    """The model's constants with what was measured in place of what was assumed."""
    us = {row["name"]: row["us"] for row in found if row["us"] is not None}
    measured = {field: us[name] for field, name in (("node", NODE), ("node_pdl", NODE_PDL)) if name in us}
    return replace(Machine(), **measured, multiprocessors=multiprocessors)


def _touch(x: torch.Tensor, early: tuple[int, int] | None = None) -> None:
    """early: the device's capability, if the launch is to be a dependent one."""
    if early is not None and early < (9, 0):
        raise Unsupported(f"compute capability {early[0]}.{early[1]} has no dependent launch; 9.0 and newer have")
    from . import touch

    if early is None:
        touch.touch[(1,)](x, BLOCK=BLOCK)
    else:
        touch.touch_early[(1,)](x, BLOCK=BLOCK, launch_pdl=True)


def _graph(device: Device, kernel: Callable[[], Any], kernels: int, repeats: int) -> float:
    def run() -> None:
        for _ in range(kernels):
            kernel()

    replay = Turn(device.capture(run), "device", device)
    replay()
    return statistics.median(device.lap(replay) for _ in range(repeats)) / kernels * 1e3


def _issued(device: Device, kernel: Callable[[], Any], kernels: int, repeats: int) -> float:
    kernel()
    taken = []
    for _ in range(repeats):
        device.wait()
        began = time.perf_counter()
        for _ in range(kernels):
            kernel()
        taken.append(time.perf_counter() - began)
    device.wait()
    return statistics.median(taken) / kernels * 1e6


def _waited(device: Device, call: Callable[[], Any], repeats: int) -> float:
    def run() -> None:
        call()
        device.wait()

    turn = Turn(run, "host", device)
    turn()
    return statistics.median(device.lap(turn) for _ in range(10 * repeats)) * 1e3


def _copies(device: Device) -> Callable[[], None]:
    up, down = device.staging((COPY,)), device.staging((COPY,))
    there = torch.zeros(COPY, device=device.name)

    def run() -> None:
        there.copy_(up, non_blocking=True)
        down.copy_(there, non_blocking=True)

    return run


def _nothing() -> None:
    pass
