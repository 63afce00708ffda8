"""An Engine that runs the stages of a plan in numpy, in float64: the oracle of every engine that runs them on a GPU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...core.conditions import Inpainting
from ...core.loop import PlanTables, Result, SamplingLoop, not_finite, ranking
from ...core.noise import draw
from ...core.program import Program
from ..engine import Noise, Seeded
from .compile import program_stages
from .executor import Executor
from .plan import loop_stages
from .stages import Flag, Kind


def run(
    program: Program, weights: Mapping[str, NDArray], inputs: Mapping[str, NDArray], table: NDArray | None = None,
    *, group: int = 1,
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    """Evaluate one Program. inputs, outputs: ``[B, C, H]`` by name; table: ``[S]`` or ``[B, S]``."""
    batch = len(next(iter(inputs.values())))
    executor = Executor(program_stages(program, weights, group=group), batch)
    seen = None if table is None else _spread(np.atleast_2d(table), executor)
    given, outputs = list(inputs[name] for name in program.inputs), {}
    for n, row in enumerate(executor.rows):
        if row.kind == Kind.LOAD:
            _put(executor.operand(row, "y"), given[row.io].transpose(0, 2, 1))
        elif row.kind == Kind.STORE:
            name = list(program.outputs)[row.io - len(given)]
            outputs[name] = _taken(executor.operand(row, "x"), batch).transpose(0, 2, 1)
        else:
            executor.run(n, seen)
    return outputs


class NumpyEngine:
    """See backends/engine.py. group: trajectories of one arena."""

    def __init__(self, loop: SamplingLoop, batch: int, *, group: int = 1) -> None:
        self.loop, self.batch, self.group = loop, batch, group

    def __call__(
        self, inpainting: Inpainting, noise: Noise, *, x: NDArray | None = None, start: int = 0,
        tables: PlanTables | None = None, candidates: int | None = None, chain: bool = False,
    ) -> Result:  # fmt: skip
        """See backends/engine.py; the result is in float64."""
        loop, steps = self.loop, self.loop.steps
        stages = loop_stages(loop, group=self.group, start=start)
        executor = Executor(stages, self.batch)
        seen = loop.plan_tables(tables, self.batch)
        values, states, state = np.zeros(self.batch), [], None

        def drawn(entry: int) -> NDArray:
            if not isinstance(noise, Seeded):
                return np.asarray(noise[entry], np.float64)
            sizes = (self.batch, loop.horizon, loop.transition_dim)
            return draw(noise.seed, noise.plan, entry, *sizes, candidates).astype(np.float64)

        def inpaint(values: NDArray) -> NDArray:
            return np.where(inpainting.mask, inpainting.values, values)

        for first, count, k, flags in stages.script.tolist():
            for n in range(first, first + count):
                row = executor.rows[n]
                there = {name: executor.operand(row, name) for name in ("x", "y", "r", "u", "p")}
                found = {name: None if view is None else _taken(view, self.batch) for name, view in there.items()}
                match Kind(row.kind):
                    case Kind.BEGIN:
                        _put(there["y"], inpaint(drawn(0) if x is None else x))
                        if there["p"] is not None:
                            executor.view(row.p, row.p_ld, 1, 1)[...] = row.scalar
                        states.append(_taken(there["y"], self.batch))
                    case Kind.GUIDANCE:
                        _put(there["y"], inpaint(found["y"] + steps.gx[k] * found["x"]))
                    case Kind.UPDATE:
                        x0 = steps.p[k] * found["y"]
                        if steps.q[k]:
                            x0 = x0 + steps.q[k] * found["x"]
                        if found["r"] is not None:
                            x0 = x0 + steps.g0[k] * found["r"]
                        unclipped = x0
                        if loop.clip:
                            x0 = np.clip(x0, *loop.clip)
                        previous = x0 if flags & Flag.FIRST or found["u"] is None else found["u"]
                        state = steps.a[k] * x0 + steps.b[k] * found["y"] + steps.d[k] * previous
                        state = inpaint(state + steps.u[k] * unclipped + steps.s[k] * drawn(k + 1))
                        _put(there["y"], state)
                        if there["u"] is not None:
                            _put(there["u"], x0)
                        if not np.isfinite(state).all():
                            raise not_finite(steps, k)
                        states.append(state)
                    case Kind.KEEP_VALUE:
                        values = found["x"].reshape(-1)
                    case Kind.FINISH:
                        state = found["x"]
                    case Kind.RANK:
                        pass  # below, for where nothing is ranked plans have an order too
                    case _:
                        step = loop.table_step(k)
                        executor.run(n, _spread(seen[row.network].step(step), executor))
        order = ranking(values, candidates or self.batch)
        return Result(x=state, values=values, order=order, chain=np.stack(states, axis=1) if chain else None)

    def cancel(self) -> None:
        """Nothing: nobody waits for it."""


def _spread(rows: NDArray, executor: Executor) -> NDArray:
    """Rows ``[1 or N, S]`` of time-embedding tables as ``[1, 1, S]`` or ``[G, n, S]``."""
    if len(rows) == 1:
        return np.asarray(rows, np.float64)[None]
    room = np.zeros((executor.groups, executor.stages.group, rows.shape[-1]))
    _put(room[:, :, None], np.asarray(rows)[:, None])
    return room


def _put(view: NDArray, values: NDArray) -> None:
    """``[N, H, C]`` into ``[G, n, H, C]``, whose last group may have room for more."""
    n = view.shape[1]
    for i, value in enumerate(values):
        view[i // n, i % n] = value


def _taken(view: NDArray, batch: int) -> NDArray[np.float64]:
    """The inverse: a copy."""
    return view.reshape(-1, *view.shape[2:])[:batch].copy()
