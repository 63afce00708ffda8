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

from ..problem import OUTPUTS, Problem
from . import Ready


def inputs(problem: Problem, role: str) -> list[NDArray[np.float32]]:
    """The arrays of the first call of a role, to trace or export it with. The first is a row of the tables ``[S]``."""
    loop = problem.loop
    row = (loop.denoiser if role in ("step", "denoise") else loop.guide).tables.per_step[0, 0]
    if problem.x is not None:
        return [row, problem.x]
    first, given, c, gx = _arrays(problem)
    return [row, first, *{"denoise": [c[0], problem.tape[1], given], "climb": [gx[0], given]}.get(role, [])]


def _arrays(problem: Problem) -> tuple[NDArray[np.float32], ...]:
    """Of a plan: the first noise, inpainted; the values inpainted, for every plan of the batch; and a row per denoising
    step, the a, b, s of x' = a x0 + b x + s noise and the size of a guide step."""
    steps, inpainting = problem.loop.steps, problem.inpainting
    given = np.ascontiguousarray(np.broadcast_to(inpainting.values, problem.tape[0].shape))
    c = np.stack([steps.a, steps.b, steps.s], axis=1).astype(np.float32)
    return inpainting.apply(problem.tape[0]), given, c, steps.gx.astype(np.float32)[:, None]


def assemble(
    problem: Problem, compiler: Callable[[str], Callable[..., Sequence[Any]]],
    native: Callable[[NDArray], Any] = np.ascontiguousarray, array: Callable[[Any], NDArray] = np.asarray,
    capture: Callable[[Callable[[], Any]], Callable[[], Any]] | None = None,
) -> Ready:  # fmt: skip
    """A problem of any kind. native, array: to the peer's own arrays and back; capture: records the loop as a graph."""

    def arrays(found: dict[str, Any]) -> dict[str, NDArray]:
        return {name: array(a) for name, a in found.items()}

    if problem.x is not None:
        kind = problem.workload.kind
        call, ready = compiler(kind), [native(a) for a in inputs(problem, kind)]
        return Ready(lambda: call(*ready), lambda found: arrays(dict(zip(OUTPUTS[kind], found, strict=True))))
    sample = _sampler(problem, compiler, native)
    numbers = _arrays(problem)[1]
    first, given = map(native, _arrays(problem)[:2])
    if capture is None:
        return Ready(lambda: arrays(sample(first, native(numbers))), loop=lambda: sample(first, given))
    sample(first, given)  # what is compiled by its first call is so now
    replay = capture(lambda: sample(first, given))

    def run() -> dict[str, NDArray]:
        given.copy_(native(numbers))
        return arrays(replay())

    return Ready(run, loop=replay)


def _sampler(
    problem: Problem, compiler: Callable[[str], Callable[..., Sequence[Any]]], native: Callable[[NDArray], Any]
) -> Callable[[Any, Any], dict[str, Any]]:
    """The denoising steps: ``(first, given)`` -> x ``[B, H, D]`` and, guided, value ``[B]``, by name, all native."""
    loop, steps = problem.loop, problem.loop.steps
    if loop.steps.d.any() or (loop.steps.p != 0).any() or (loop.steps.q != 1).any() or loop.steps.g0.any():
        raise ValueError("assembled: loops are written for networks that predict x0 and samplers of one step")
    climbs = steps.guide_steps.tolist()
    denoise = compiler("denoise")
    climb = compiler("climb") if any(climbs) else None
    value = compiler("value") if loop.guide is not None and not climbs[-1] else None
    rows = [native(row) for row in loop.denoiser.tables.per_step[:, 0]]
    guide_rows = [native(row) for row in loop.guide.tables.per_step[:, 0]] if loop.guide else []
    c, gx, noise = ([native(a) for a in many] for many in (*_arrays(problem)[2:], problem.tape))

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
