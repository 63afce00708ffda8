"""Which specialisations are compiled: those of the named workloads, each once, and CI's part of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from diffuser_fast import backends
from diffuser_fast.core.ops import ACTS
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder, Program

from ..problem import problem
from ..workloads import Workload, ladder
from .compiled import SHARED_KIB
from .specialisation import Specialisation
from .store import Task

BACKEND = "triton"
BATCHES = (1, 64, 1024)
NOT_NAMED = ("tiny",)  # for tests
# What a change is most likely to break, in the time that CI has: of every kernel in every variant (its pointers, flags
# and modes) the largest and the smallest tile, in two precisions, for these workloads on two architectures; and the
# largest tile of every kernel on the others.
CI_WORKLOADS = ("hopper/guided/b64", "halfcheetah/guided/b64", "maze2d-large/plan/b1")
CI_PRECISIONS = ("float32", "fp16")
CI_CAPABILITIES = (80, 90)
SIZE = (32, 32, 64)  # channels, times and batch of Programs that no named workload has: hopper's first level


@dataclass(frozen=True)
class Choice:
    """Networks, batches, precisions and architectures; empty: all there are."""

    networks: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ()
    capabilities: tuple[int, ...] = ()


def everything(choice: Choice = Choice()) -> list[Task]:
    """Every network at every batch, in every precision, for every architecture. ValueError on a name there is not."""
    said = ladder().networks
    shapes = [said[name] for name in _known("network", choice.networks, [n for n in said if n not in NOT_NAMED])]
    precisions = _known("precision", choice.precisions, list(backends.get(BACKEND).PRECISIONS))
    workloads = [
        Workload(shape, "guided" if shape.guide else "plan", batch)
        for shape, batch in product(shapes, choice.batches or BATCHES)
    ]
    capabilities = choice.capabilities or tuple(SHARED_KIB)
    return list(dict.fromkeys([*tasks(workloads, precisions, capabilities), *unnamed(precisions, capabilities)]))


def for_ci() -> list[Task]:
    """The declared part."""
    workloads = [ladder().find(name) for name in CI_WORKLOADS]
    main = tasks(workloads, CI_PRECISIONS, CI_CAPABILITIES)
    rest = tasks(workloads[:1], CI_PRECISIONS, [c for c in SHARED_KIB if c not in CI_CAPABILITIES])
    by_variant = [one for many in grouped(main, variant=True) for one in (many[0], many[-1])]
    others = unnamed(CI_PRECISIONS[:1], CI_CAPABILITIES)
    return list(dict.fromkeys([*by_variant, *(many[0] for many in grouped(rest)), *others]))


def tasks(workloads: Iterable[Workload], precisions: Iterable[str], capabilities: Iterable[int]) -> list[Task]:
    """What these need compiled, each once."""
    found: dict[Task, None] = {}
    for workload in workloads:
        # Kernels know nothing of the arrays of a batch: one trajectory's are enough to make the loop.
        loop = problem(replace(workload, batch=1)).loop
        for precision, capability in product(precisions, capabilities):
            sizes = {"batch": workload.batch, "precision": precision, "capability": capability}
            for one in backends.get(BACKEND).specialisations(loop, **sizes):
                made = Specialisation.of(one.kernel, one.signature, one.constexprs, one.attrs, one.options)
                found[made, capability] = None
    return list(found)


def unnamed(precisions: Iterable[str], capabilities: Iterable[int]) -> list[Task]:
    """What no named workload launches: other activations, tables of each trajectory, ops without a convolution."""
    triton, (_, _, batch) = backends.get(BACKEND), SIZE
    programs = [(program, triton.TableForm()) for act in ACTS for program in _programs(act)]
    programs += [(program, triton.TableForm(each=True, per_sample=True)) for program in _programs(ACTS[0])]
    found: dict[Task, None] = {}
    for (program, form), precision, capability in product(programs, precisions, capabilities):
        sizes = {"batch": batch, "precision": precision, "capability": capability, "tables": form}
        for one in triton.program_specialisations(program, **sizes):
            made = Specialisation.of(one.kernel, one.signature, one.constexprs, one.attrs, one.options)
            found[made, capability] = None
    return list(found)


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


def grouped(found: Iterable[Task], variant: bool = False) -> list[list[Task]]:
    """By kernel and architecture (and variant), the largest tile of each group first."""
    groups: dict[tuple, list[Task]] = {}
    for task in found:
        key = (task[0].kernel, task[1], task[0].variant if variant else None)
        groups.setdefault(key, []).append(task)
    return [sorted(many, key=lambda task: task[0].weight, reverse=True) for many in groups.values()]


def _known(what: str, asked: tuple[str, ...], there: list[str]) -> list[str]:
    unknown = [name for name in asked if name not in there]
    if unknown:
        raise ValueError(f"--{what}: found {unknown[0]!r}, expected one of {', '.join(there)}")
    return list(asked) or there
