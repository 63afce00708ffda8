"""What a bundle holds, as tensors. Numbers that programs read are tensors, never JSON; csrc/capi/bundle.cc reads them.

``sizes`` int64 [SIZES]; ``variants`` int64 [V, VARIANT]: a batch (0: any) and a horizon with their programs;
``weights.<number>`` float32, packed (backends/pack.py), each once, in no instruction set's own layout;
``programs.<variant>.<role>.{ops, values, inputs, outputs, weights, layouts}`` int32 (core/passes/serialize.py), where
``weights`` are the numbers above; ``rows.columns`` float32 [R', 9], ``rows.{t, guide_steps, table_steps}``: all rows of
the planner's menu (core/menu.py), its own R first; ``rows.entries`` float64 [R, 2]: what of x0 and of noise is in x at
entry of each of those; ``tables.{denoiser, guide}`` float32 [steps, S], where row k reads
that of ``table_steps[k]``; ``choices.{at, rows}``: schedules to begin with, best first, the first being the planner's
own; ``paths.{first, at, rows}``: what leads from each row to the end; ``schedule.<buffer>`` float64 [T];
``clip`` float32 [2, D]; ``normalizer.{observations, actions}.*`` float64; ``test.*``: see selftest.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..backends.cpu.records import Record, records
from ..core.loop import SamplingLoop
from ..core.normalizers import CDF, Affine, Gaussian, Limits, Normalizer
from ..core.samplers import ENGINE_COLUMNS
from ..core.schedule import BUFFERS
from ..planner import Planner

VERSION = 2
SIZES = (
    "version", "action_dim", "observation_dim", "training_steps", "rows", "guided", "batch", "variants", "weights",
    "exactness", "clip_array", "observations_kind", "actions_kind", "test_batch", "test_conditions",
    "actions_at", "observations_at",
    "menu_rows", "table_steps", "choices", "paths",
)  # fmt: skip
VARIANT = ("batch", "horizon", "denoiser_size", "gradient_size", "value_size", "denoiser_width", "guide_width")
ROLES = ("denoiser", "gradient", "value")
MOST_GUIDE_STEPS = 256  # of a denoising step: a damaged number shall not plan for ever
EXACTNESS = ("exact", "close", "fast", "approximate")
KINDS: tuple[type[Normalizer], ...] = (Gaussian, Limits, CDF, Affine)


def metadata(planner: Planner) -> dict[str, str]:
    """What a person may want to know who looks into the file."""
    found = {"format": "diffuser-fast bundle", "version": str(VERSION), "precision": planner.precision}
    provenance = planner.checkpoint.metadata
    return found | {f"checkpoint.{name}": str(value) for name, value in sorted(provenance.items())}


def why_not(planner: Planner) -> str | None:
    """What of a planner no bundle holds yet, in a sentence, or None."""
    checkpoint = planner.checkpoint
    if checkpoint.unet.spec.condition:
        return "its network takes a condition"
    if checkpoint.unet.spec.given:
        return "its network is told of what is given"
    if checkpoint.inverse is not None:
        return "its actions are found by inverse dynamics"
    if (guide_steps := planner.loop.steps.guide_steps.max()) > MOST_GUIDE_STEPS:
        return f"it has {guide_steps} guide steps in a denoising step (more than {MOST_GUIDE_STEPS})"
    if planner.clips_all:
        return "its last clip is of what is given of a plan, too"
    if planner.loop.steps.first_noise != 1:
        return f"its first noise is multiplied by {planner.loop.steps.first_noise}"
    return None


def tensors(planner: Planner, loops: Sequence[SamplingLoop], batch_sizes: Sequence[int]) -> dict[str, NDArray]:
    """All but the self-test. loops: one for each horizon, the planner's own first; batch_sizes likewise."""
    checkpoint, loop, menu = planner.checkpoint, planner.budget.loop(planner.horizon), planner.budget.menu
    steps = menu.steps
    variants, programs, weights = _programs(planner, loops, batch_sizes)
    normalizers = checkpoint.normalizers
    sizes = {
        "version": VERSION,
        "action_dim": checkpoint.action_dim,
        "observation_dim": checkpoint.observation_dim,
        "training_steps": checkpoint.schedule.n_steps,
        "rows": menu.own,
        "menu_rows": steps.rows,
        "table_steps": len(menu.seen),
        "choices": len(menu.choices),
        "paths": len(menu.path_at) - 1,
        "guided": loop.guide is not None,
        "batch": planner.batch_size,
        "variants": len(variants),
        "weights": len(weights),
        "exactness": EXACTNESS.index(planner.exactness),
        "clip_array": planner.clip_scope == "array",
        "observations_kind": KINDS.index(type(normalizers.observations)),
        "actions_kind": KINDS.index(type(normalizers.actions)),
        "test_batch": test_batch(planner),
        "test_conditions": len(test_times(loop.horizon)),
        "actions_at": checkpoint.columns[0].start,
        "observations_at": checkpoint.columns[1].start,
    }
    found: dict[str, NDArray] = {
        "sizes": np.array([sizes[name] for name in SIZES], np.int64),
        "variants": np.array(variants, np.int64),
        "rows.columns": np.stack([getattr(steps, name) for name in ENGINE_COLUMNS], axis=1).astype(np.float32),
        "rows.entries": np.stack([steps.sqrt_abar[: menu.own], steps.sqrt_one_minus_abar[: menu.own]], axis=1),
        "rows.t": np.array(steps.t, np.int64),
        "rows.guide_steps": np.array(steps.guide_steps, np.int32),
        "rows.table_steps": menu.table_steps,
        "choices.at": np.cumsum([0, *(len(choice.rows) for choice in menu.choices)]).astype(np.int32),
        "choices.rows": np.concatenate([choice.rows for choice in menu.choices]),
        "paths.first": menu.first_path,
        "paths.at": menu.path_at,
        "paths.rows": menu.path_rows,
    }
    found |= {f"schedule.{name}": np.array(getattr(checkpoint.schedule, name)) for name in BUFFERS}
    for name, network in (("denoiser", loop.denoiser), ("guide", loop.guide)):
        if network is not None:
            found[f"tables.{name}"] = network.tables.per_step[:, 0]
    if loop.clip is not None:
        found["clip"] = np.stack(loop.clip).astype(np.float32)
    for field in ("observations", "actions"):
        found |= _statistics(f"normalizer.{field}", getattr(normalizers, field))
    return found | programs | {f"weights.{n:05}": weight.reshape(-1) for n, weight in enumerate(weights)}


def test_times(horizon: int) -> list[int]:
    """Where the self-test has its conditions: the beginning and the end."""
    return sorted({0, horizon - 1})


def test_batch(planner: Planner) -> int:
    """How many plans the self-test makes: few, but some to rank; those of the first variant where that is fixed."""
    return planner.batch_size if planner.precision == "float32-close" else min(planner.batch_size, 4)


def _programs(
    planner: Planner, loops: Sequence[SamplingLoop], batch_sizes: Sequence[int]
) -> tuple[list[list[int]], dict[str, NDArray], list[NDArray]]:
    """Rows of the variants, their programs' tensors, and the weights that they name by number."""
    fixed = planner.precision == "float32-close"  # its algorithms, and so its weights, depend on the batch
    found: dict[str, NDArray] = {}
    rows, numbers, weights = [], {}, []
    for loop in loops:
        for batch in batch_sizes if fixed else [0]:
            parts = [(loop.denoiser.fused, loop.denoiser.weights)]
            if loop.guide is not None:
                parts += [(loop.guide.gradient, loop.guide.weights), (loop.guide.fused, loop.guide.weights)]
            made = records(parts, planner.precision, max(batch, 1))
            for weight in made[0].weights:  # one list for all of them
                if id(weight) not in numbers:
                    numbers[id(weight)] = len(weights)
                    weights.append(weight)
            for role, record in zip(ROLES, made, strict=False):
                found |= _record(f"programs.{len(rows)}.{role}", record, numbers)
            sizes = [record.size for record in made] + [0] * (3 - len(made))
            widths = [made[0].table_width, made[-1].table_width if loop.guide is not None else 0]
            rows.append([batch, loop.horizon, *sizes, *widths])
    return rows, found, weights


def _record(name: str, record: Record, numbers: dict[int, int]) -> dict[str, NDArray]:
    arrays = {field: getattr(record, field) for field in ("ops", "values", "inputs", "outputs", "layouts")}
    arrays["weights"] = np.array([numbers[id(weight)] for weight in record.weights], np.int32)
    return {f"{name}.{field}": array for field, array in arrays.items()}


def _statistics(name: str, normalizer: Normalizer) -> dict[str, NDArray]:
    if isinstance(normalizer, CDF):
        return {
            f"{name}.lengths": np.array([len(curve) for curve in normalizer.quantiles], np.int64),
            f"{name}.first": np.concatenate([np.zeros(0), *normalizer.quantiles]),
            f"{name}.second": np.concatenate([np.zeros(0), *normalizer.cumprobs]),
        }
    fields = (getattr(normalizer, field) for field in normalizer.__dataclass_fields__)
    named = zip(("first", "second", "third"), fields, strict=False)
    return {f"{name}.{which}": np.array(numbers) for which, numbers in named if numbers is not None}
