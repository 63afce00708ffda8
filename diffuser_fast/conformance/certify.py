"""How exactly every engine and precision here plans with one checkpoint: deviations, and the class that each earns.

All of them plan from the same noise and the same random conditions, beside the float64 reference. What a precision may
err is measured from the computation alone (error_bounds.py). "exact" and "close" claim whole plans; "fast" claims its
denoising steps, of which the first, the middle and the last are judged, each from the x that float64 has there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import backends
from ..core.checkpoint import Checkpoint
from ..core.conditioning import tell
from ..core.conditions import Inpainting
from ..core.guidance import Guide
from ..core.loop import PlanTables, Result, SamplingLoop, sampling_loop
from ..core.noise import tape
from ..core.physical import Physical
from .arithmetic import ARITHMETIC
from .error_bounds import MULTIPLES, Implied, judge
from .implied import ImpliedPlan, implied_by_plan
from .loops import single_step
from .targets import EXACT, Target

SPREAD = 0.5  # of random conditions, in normalised units: inside the data, as most observations are


class Problem:
    """Plans of one checkpoint under random conditions. plans: N, ranked together."""

    def __init__(self, checkpoint: Checkpoint, plans: int, seed: int, guide: Guide | None) -> None:
        steps = checkpoint.sampling.table(checkpoint.schedule, checkpoint.prediction)
        self.checkpoint, self.plans = checkpoint, plans
        self.loop = sampling_loop(checkpoint, steps, guide=guide)
        rng, (h, d) = np.random.default_rng(seed), (self.loop.horizon, self.loop.transition_dim)
        mask = np.zeros((h, d), bool)
        if not checkpoint.observes_condition:
            mask[: checkpoint.acting.history, checkpoint.columns[1]] = True
        values = np.where(mask, rng.normal(0, SPREAD, (1, h, d)), 0)
        count, seen = checkpoint.unet.spec.condition, checkpoint.acting.history * checkpoint.observation_dim
        numbers = seen if checkpoint.acting.observed == "local" else count
        condition = rng.normal(0, SPREAD, (1, numbers)) if numbers else None
        self.inpainting, condition = tell(checkpoint, Inpainting(mask, values), condition)
        self.noise = tape(seed, 0, self.loop.rows, plans, h, d)
        self.x = None
        if steps.first_noise != 1:
            self.x = (steps.first_noise * self.noise[0]).astype(np.float32)
        self.tables = None
        if condition is not None:
            self.tables = PlanTables(self.loop.denoiser.conditioned(np.repeat(condition, plans, axis=0)))

    def implied(self, precision: str) -> ImpliedPlan:
        """What float64 makes of it, and how far a precision may be from that."""
        return implied_by_plan(
            self.loop, self.inpainting, self.noise, x=self.x, tables=self.tables, arithmetic=ARITHMETIC[precision]
        )

    def plan(self, target: Target) -> Result:
        """What a target makes of it, with the chain."""
        engine = target.ready(self.loop, self.plans)
        return engine(self.inpainting, self.noise, x=self.x, tables=self.tables, chain=True)

    def steps(self, target: Target, chain: NDArray) -> Iterator[tuple[NDArray, Implied]]:
        """Some denoising steps by themselves: what a target makes of each, and what is implied."""
        for k in sorted({0, self.loop.rows // 2, self.loop.rows - 1}):
            loop: SamplingLoop = single_step(self.loop, k)
            tables = self.tables and self.tables.steps(slice(k, k + 1))
            given = {"x": chain[:, k].astype(np.float32), "tables": tables}
            noise = self.noise[[0, k + 1]]
            found = target.ready(loop, self.plans)(self.inpainting, noise, **given).x
            arithmetic = ARITHMETIC[target.precision]
            yield found, implied_by_plan(loop, self.inpainting, noise, arithmetic=arithmetic, **given).x


def certificate(
    checkpoint: Checkpoint, *, plans: int = 4, seed: int = 0, names: Iterable[str] | None = None
) -> dict[str, Any]:
    """JSON values: one record for each target, and ``passed``, whether all of them keep the class that they claim.

    names: of backends (default: all that run here). Deviations are in physical units, or where the checkpoint has no
    statistics normalised (``units``). Needs torch, in which the reference is computed.
    """
    guide = None if checkpoint.value is None else checkpoint.guide
    problem = Problem(checkpoint, plans, seed, guide)
    implied = {"float32": problem.implied("float32")}
    physical = None if checkpoint.normalizers is None else Physical(checkpoint)
    records = [_record(problem, target, implied, physical) for target in _targets(problem.loop, names)]
    return {
        "plans": plans,
        "seed": seed,
        "denoising_steps": problem.loop.rows,
        "horizon": problem.loop.horizon,
        "guided": guide is not None,
        "units": "normalised" if physical is None else "physical",
        "targets": records,
        "passed": all(record["earned"] == record["claimed"] for record in records),
    }


def _targets(loop: SamplingLoop, names: Iterable[str] | None) -> Iterator[Target]:
    for name in backends.NAMES if names is None else names:
        if backends.why_not(name, loop) is None:
            module = backends.get(name)
            isas = module.isas() or [None]
            for precision in module.PRECISIONS:
                if precision != EXACT.precision:  # which judges the others
                    yield from (Target(name, isa, precision) for isa in isas)


def _record(
    problem: Problem, target: Target, implied: dict[str, ImpliedPlan], physical: Physical | None
) -> dict[str, Any]:
    found, exact = problem.plan(target), implied["float32"]
    if target.exactness == "fast":
        parts = list(problem.steps(target, exact.chain.exact))
        ratios = {"denoising steps": judge(*zip(*parts), exactness="fast").ratio}
        earned = "fast" if ratios["denoising steps"] <= 1 else "none"
    else:
        fields = ("x", "values") if problem.loop.guide else ("x",)
        ratios = {name: judge(getattr(found, name), getattr(exact, name)).ratio for name in fields}
        worst = max(ratios.values()) * MULTIPLES["exact"]
        earned = next((name for name in ("exact", "close") if worst <= MULTIPLES[name]), "none")
        earned = target.exactness if earned == "exact" else earned  # no one claims less than it has
    return {
        "backend": target.backend, "isa": target.isa, "precision": target.precision, "claimed": target.exactness,
        "earned": earned, "of_what_is_allowed": ratios, **_deviations(problem, found, exact, physical),
    }  # fmt: skip


def _deviations(problem: Problem, found: Result, exact: ImpliedPlan, physical: Physical | None) -> dict[str, Any]:
    """Largest differences from float64, of plans, of every row, of the first action; and how plans are ranked."""

    def parts(x: NDArray) -> dict[str, NDArray]:
        if physical is None:
            return {"trajectories": np.asarray(x, np.float64)}
        return dict(zip(("actions", "observations"), physical(np.asarray(x, np.float64), np.float64)))

    def largest(one: NDArray, other: NDArray) -> float:
        return float(np.abs(one - other).max(initial=0))

    mine, theirs = parts(found.x), parts(exact.x.exact)
    rows = [
        max(largest(a, b) for a, b in zip(parts(found.chain[:, k]).values(), parts(exact.chain.exact[:, k]).values()))
        for k in range(1, found.chain.shape[1])
    ]
    best = (int(found.order[0]), int(np.argsort(-exact.values.exact, kind="stable")[0]))
    first, name = problem.checkpoint.acting.first, next(iter(mine))
    pairs = [(i, j) for i in range(problem.plans) for j in range(i)]
    alike = [
        (found.values[i] - found.values[j]) * (exact.values.exact[i] - exact.values.exact[j]) >= 0 for i, j in pairs
    ]
    return {
        "plan": {part: largest(mine[part], theirs[part]) for part in mine},
        "scale": {part: float(np.abs(theirs[part]).max(initial=0)) for part in theirs},
        "rows": rows,
        "first_action": largest(mine[name][best[0], first], theirs[name][best[1], first]),
        "same_best_plan": best[0] == best[1],
        "rank_agreement": float(np.mean(alike)) if problem.loop.guide and pairs else 1.0,
    }
