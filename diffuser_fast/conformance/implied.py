"""The error that a precision implies for a program or a plan, from one float64 evaluation in Monte Carlo arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .. import backends
from ..backends.engine import Noise, Seeded
from ..core.conditions import Inpainting
from ..core.loop import PlanTables, SamplingLoop, TimeTables, ranking
from ..core.noise import tape
from ..core.normalizers import Normalizers
from ..core.program import Program
from .arithmetic import ARITHMETIC, Arithmetic
from .error_bounds import Implied

COPIES = 8
FLOAT32 = ARITHMETIC["float32"]
PROBE = 2.0**-40  # roundings are thrown at least so large (float64's are less): above those of the evaluation itself
NORMAL_ULPS = 4  # to which engines' own normals agree with core/noise.py: units in the last place of 1, or of a larger


@dataclass(frozen=True)
class ImpliedPlan:
    """As ``core.loop.Result``, in sample order."""

    x: Implied
    values: Implied
    chain: Implied

    def ranked(self) -> ImpliedPlan:
        """Best first."""
        order = ranking(self.values.exact, len(self.values.exact))
        return ImpliedPlan(self.x[order], self.values[order], self.chain[order])

    def physical(self, normalizers: Normalizers, *, whole_array: bool = False) -> tuple[Implied, Implied]:
        """Actions and observations of x in physical units, in float32."""
        split = normalizers.actions.dim
        parts = (normalizers.actions, self.x[..., :split]), (normalizers.observations, self.x[..., split:])
        return tuple(x.mapped(partial(one.unnormalize, whole_array=whole_array)) for one, x in parts)


def implied_by_program(
    program: Program, weights: Mapping[str, NDArray], inputs: Mapping[str, NDArray], table: NDArray | None = None,
    arithmetic: Arithmetic = FLOAT32,
) -> dict[str, Implied]:  # fmt: skip
    """For each output, by name, ``[B, C, H]``. inputs: ``[B, C, H]`` by name; table: what it sees of a denoising step,
    ``[S]`` or ``[B, S]``.
    """
    import torch

    def tensor(array: NDArray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array, np.float64))

    named = {name: tensor(array) for name, array in weights.items()}
    copies = {name: tensor(_copied(x)) for name, x in inputs.items()}
    if table is not None:
        table = tensor(_copied(table) if np.ndim(table) == 2 else table)
    with _monte_carlo(arithmetic), torch.no_grad():
        outputs = backends.get("reference").run(program, named, copies, table)
    return {name: _implied(y.numpy(), arithmetic) for name, y in outputs.items()}


def implied_by_plan(
    loop: SamplingLoop, inpainting: Inpainting, noise: Noise, *, batch: int | None = None, x: NDArray | None = None,
    start: int = 0, tables: PlanTables | None = None, arithmetic: Arithmetic = FLOAT32,
    engine_draws: bool = False, given_error: NDArray | None = None, device: str | None = None,
) -> ImpliedPlan:  # fmt: skip
    """For one call of an engine (backends/engine.py) with these arguments.

    batch: N, where the noise is ``Seeded``. engine_draws: the tape stands for such noise, which engines draw themselves
    with errors of their own in the last places; these are part of what is implied. given_error: how far off
    ``inpainting.values`` may be, in its shape, where somebody else computed them. device: where the reference runs.
    """
    if isinstance(noise, Seeded):
        engine_draws = True
        noise = tape(noise.seed, noise.plan, loop.rows, batch, loop.horizon, loop.transition_dim)
    noise = _copied(noise, axis=1)
    if engine_draws:
        noise += _thrown(NORMAL_ULPS * np.spacing(np.maximum(np.abs(noise), 1).astype(np.float32)), axis=1)
    if given_error is not None or len(inpainting.values) > 1:
        error = 0 * inpainting.values if given_error is None else given_error
        each = noise.shape[1] // (1 + COPIES)
        values, error = (np.repeat(a, each // len(a), axis=0) for a in (inpainting.values, error))
        inpainting = replace(inpainting, values=_copied(values) + _thrown(_copied(error)))
    engine = backends.get("reference").ready(loop, device=device, batch=noise.shape[1], precision="float64")
    with _monte_carlo(arithmetic):
        found = engine(
            inpainting,
            noise,
            x=None if x is None else _copied(x),
            start=start,
            tables=copied_tables(tables, _copied),
            chain=True,
        )
    return ImpliedPlan(*(_implied(getattr(found, field), arithmetic) for field in ("x", "values", "chain")))


def copied_tables(tables: PlanTables | None, copied_along: Callable[..., NDArray]) -> PlanTables | None:
    """Those of each sample for each of its copies. copied_along: copies an array along its first, or its ``axis``."""

    def copied(one: TimeTables) -> TimeTables:
        return replace(
            one,
            per_step=copied_along(one.per_step, axis=1) if one.per_step.shape[1] > 1 else one.per_step,
            per_sample=None if one.per_sample is None else copied_along(one.per_sample),
        )

    if tables is None:
        return None
    return PlanTables(copied(tables.denoiser), None if tables.guide is None else copied(tables.guide))


def _copied(array: NDArray, axis: int = 0) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(array, np.float64)] * (1 + COPIES), axis)


def _thrown(sizes: NDArray, axis: int = 0) -> NDArray[np.float64]:
    """These sizes with either sign, but none in the first copy."""
    thrown = sizes * np.random.default_rng(0).choice([-1, 1], sizes.shape)
    np.moveaxis(thrown, axis, 0)[: sizes.shape[axis] // (1 + COPIES)] = 0
    return thrown


def _probe(arithmetic: Arithmetic) -> float:
    return max(1.0, PROBE / arithmetic.results)


def _monte_carlo(arithmetic: Arithmetic):
    from .monte_carlo import MonteCarlo  # which loads torch

    return MonteCarlo(arithmetic, COPIES, _probe(arithmetic))


def _implied(copies: NDArray[np.float64], arithmetic: Arithmetic) -> Implied:
    exact, *others = np.split(copies, 1 + COPIES)
    return Implied(exact, (np.stack(others) - exact) / _probe(arithmetic))
