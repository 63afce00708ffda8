"""The CUDA engine's model of latency, with what was measured in the place of what it assumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bench.problem import problem
from bench.records import Sheet
from bench.workloads import Workload
from diffuser_fast.backends.gpu.model import modelled
from diffuser_fast.backends.gpu.plan import loop_stages


def known(constants: Sheet) -> dict[str, float]:
    """What the model (model.py) can be told of what was measured, by the model's names."""
    found = {row[0]: row[1] for row in constants.rows}
    return {"node": found["kernel in a graph"]} if found.get("kernel in a graph") else {}


def sheet(chosen: Iterable[Workload], known: Mapping[str, float]) -> Sheet:
    """The model of these workloads, with what has been measured in the place of what is assumed."""
    said, rows = ", ".join(f"{name} {value:.2f}" for name, value in known.items()) or None, []
    for workload in chosen:
        stages = loop_stages(problem(replace(workload, batch=1)).loop)
        for way, found in modelled(stages, workload.batch, known=known).items():
            rows.append([f"{workload.name}, {way}", found.low, found.high, said])
    return Sheet("model", "a range, no measurement", ["run as", "from, ms", "to, ms", "measured constants"], rows)
