"""Whole plans out of somebody else's compiler: the best loop that can be assembled around compiled networks.

A peer brings one function, which gives a fast call for a role in a problem. The rest is done for it as well as we know:
tables instead of a time embedding, guide steps that are no-ops skipped, the value's gradient as a forward graph, and
each network compiled together with all the arithmetic of the sampling loop around it (modules.py). What is left in
Python is one call per network evaluation. numpy only: a peer whose models are cached needs no torch.

Roles: "step" and "gradient" for workloads of that kind; of a plan, "denoise" is an unguided denoising step, "climb" a
guide step, "value" the value alone. What each takes is what ``inputs`` gives; what it returns, modules.py says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem
from . import Ready


def inputs(problem: Problem, role: str) -> list[NDArray[np.float32]]:
    """The arrays of the first call of a role, to trace or export it with. The first is a row of the tables ``[S]``."""
    loop = problem.loop
    tables = (loop.denoiser if role in ("step", "denoise") else loop.guide).tables
    if problem.x is not None:
        return [tables[0], problem.x]
    first, given = problem.known.project(problem.tape[0]), _given(problem)
    more = {"denoise": [_coefficients(problem)[0], problem.tape[1], given], "climb": [_shifts(problem)[0], given]}
    return [tables[0], first, *more.get(role, [])]


def assemble(
    problem: Problem, compiler: Callable[[str], Callable[..., Sequence[Any]]], native: Callable[[NDArray], Any],
    array: Callable[[Any], NDArray], capture: Callable[[Callable[[], Any]], Callable[[], Any]] | None = None,
    note: str = "",
) -> Ready:  # fmt: skip
    """A problem of any kind. native, array: to the peer's own arrays and back; capture: records the loop as a graph."""

    def arrays(found: dict[str, Any]) -> dict[str, NDArray]:
        return {name: array(a) for name, a in found.items()}

    if problem.x is not None:
        names = {"step": ("y",), "gradient": ("value", "gradient")}[problem.workload.kind]
        call, ready = compiler(problem.workload.kind), [native(a) for a in inputs(problem, problem.workload.kind)]
        return Ready(lambda: call(*ready), lambda found: arrays(dict(zip(names, found, strict=True))), note=note)
    sample = _sampler(problem, compiler, native)
    first, given, numbers = native(problem.known.project(problem.tape[0])), native(_given(problem)), _given(problem)
    if capture is None:
        return Ready(lambda: arrays(sample(first, native(numbers))), loop=lambda: sample(first, given), note=note)
    sample(first, given)  # what is compiled by its first call is so now
    replay = capture(lambda: sample(first, given))

    def run() -> dict[str, NDArray]:
        given.copy_(native(numbers))
        return arrays(replay())

    return Ready(run, loop=replay)


def _sampler(
    problem: Problem, compiler: Callable[[str], Callable[..., Sequence[Any]]], native: Callable[[NDArray], Any]
) -> Callable[[Any, Any], dict[str, Any]]:
    """The denoising steps: ``(first, given)`` -> x ``[B, H, D]`` and, guided, value ``[B]``, by name, all native.

    first: the first noise, inpainted; given: the values inpainted, zeros elsewhere. The steps' noise is the tape.
    """
    loop, steps = problem.loop, problem.loop.steps
    if loop.steps.d.any() or (loop.steps.p != 0).any() or (loop.steps.q != 1).any() or loop.steps.g0.any():
        raise ValueError("assembled: loops are written for networks that predict x0 and samplers of one step")
    climbs = steps.guide_steps.tolist()
    denoise = compiler("denoise")
    climb = compiler("climb") if any(climbs) else None
    value = compiler("value") if loop.guide is not None and not climbs[-1] else None
    rows = [native(row) for row in loop.denoiser.tables]
    guide_rows = [native(row) for row in loop.guide.tables] if loop.guide else []
    c, gx, noise = ([native(a) for a in many] for many in (_coefficients(problem), _shifts(problem), problem.tape))

    def sample(x: Any, given: Any) -> dict[str, Any]:
        found = {}
        for k, times in enumerate(climbs):
            for _ in range(times):
                x, found["value"] = climb(guide_rows[k], x, gx[k], given)
            if value is not None and k == len(climbs) - 1:
                (found["value"],) = value(guide_rows[k], x)
            (x,) = denoise(rows[k], x, c[k], noise[k + 1], given)
        return {"x": x, **found}

    return sample


def _coefficients(problem: Problem) -> NDArray[np.float32]:
    """Of x' = a x0 + b x + s noise, a row per denoising step."""
    steps = problem.loop.steps
    return np.stack([steps.a, steps.b, steps.s], axis=1).astype(np.float32)


def _shifts(problem: Problem) -> NDArray[np.float32]:
    return problem.loop.steps.gx.astype(np.float32)[:, None]


def _given(problem: Problem) -> NDArray[np.float32]:
    """The values inpainted, for every plan of the batch."""
    return np.ascontiguousarray(np.broadcast_to(problem.known.values, problem.tape[0].shape))
