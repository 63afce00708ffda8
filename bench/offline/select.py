"""Which specialisations are compiled: those of the named workloads, each once, and CI's part of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product

from diffuser_fast import backends

from ..problem import problem
from ..workloads import Workload, ladder
from .compiled import SHARED_KIB
from .specialisation import Specialisation
from .store import Task

BACKEND = "triton"
BATCHES = (1, 64, 1024)
NOT_NAMED = ("tiny",)  # for tests
# What a change is most likely to break, in the time that CI has: every kernel in two precisions on two architectures,
# for the shapes that `make gpu` times first; on the others the largest tile of each kernel.
CI_CAPABILITIES = (80, 90)
CI_PRECISIONS = ("float32", "fp16")
CI_WORKLOADS = ("hopper/guided/b64", "halfcheetah/guided/b64", "maze2d-large/plan/b1")


def everything(capabilities: Iterable[int] = tuple(SHARED_KIB)) -> list[Task]:
    """Every network at every batch, in every precision, for every architecture."""
    precisions = backends.get(BACKEND).PRECISIONS
    return _tasks(_workloads(), precisions, capabilities)


def for_ci(capabilities: Iterable[int] = tuple(SHARED_KIB)) -> list[Task]:
    """The declared part."""
    said, precisions = ladder(), [p for p in backends.get(BACKEND).PRECISIONS if p in CI_PRECISIONS]
    workloads = [said.find(name) for name in CI_WORKLOADS]
    main = [c for c in capabilities if c in CI_CAPABILITIES]
    rest = [c for c in capabilities if c not in CI_CAPABILITIES]
    return [*_tasks(workloads, precisions, main), *_heaviest(_tasks(workloads, precisions, rest))]


def _heaviest(tasks: Iterable[Task]) -> list[Task]:
    """Of every kernel on every architecture the specialisation with the largest tile."""
    found: dict[tuple[str, int], Task] = {}
    for one, capability in tasks:
        key = (one.kernel, capability)
        if key not in found or one.weight > found[key][0].weight:
            found[key] = (one, capability)
    return list(found.values())


def _workloads() -> list[Workload]:
    said = ladder()
    shapes = [shape for name, shape in said.networks.items() if name not in NOT_NAMED]
    return [Workload(shape, "guided" if shape.guide else "plan", batch) for shape, batch in product(shapes, BATCHES)]


def _tasks(workloads: Iterable[Workload], precisions: Iterable[str], capabilities: Iterable[int]) -> list[Task]:
    found: dict[Task, None] = {}
    for workload in workloads:
        # Kernels know nothing of the batch's noise: one trajectory's arrays are enough to make the loop.
        loop = problem(replace(workload, batch=1)).loop
        for precision, capability in product(precisions, capabilities):
            for one in _specialisations(loop, workload.batch, precision, capability):
                found[one, capability] = None
    return list(found)


def _specialisations(loop, batch: int, precision: str, capability: int) -> Iterator[Specialisation]:
    offered = backends.get(BACKEND).specialisations(loop, batch, precision, divmod(capability, 10))
    for one in offered:
        yield Specialisation.of(one.kernel, one.signature, one.constexprs, one.attrs, one.options)
