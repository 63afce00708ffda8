"""``python -m tests.offline.chain hopper/guided/b64``: a plan as GPU engines run it, by stages, and the model's range.

No GPU is needed, and nothing is measured: see diffuser_fast/backends/gpu/model.py.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from bench.problem import problem
from bench.tables import aligned
from bench.workloads import Workload, workloads
from diffuser_fast.backends.gpu.model import CONSTANTS, depth, modelled, weight_bytes
from diffuser_fast.backends.gpu.plan import loop_stages
from diffuser_fast.backends.gpu.stages import Kind, StageList


def main(words: list[str] | None = None) -> int:
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.offline.chain", description=__doc__)
    parser.add_argument("workload", nargs="?", default="hopper/guided/b64", help="NETWORK/KIND/bBATCH")
    parser.add_argument("--all", action="store_true", help="every denoising step, not the first alone")
    options = parser.parse_args(words)
    try:
        chosen = workloads().find(options.workload)
    except ValueError as error:
        parser.error(str(error))
    print("\n".join(lines(chosen, everything=options.all)))
    return 0


def lines(workload: Workload, *, everything: bool = False) -> list[str]:
    """The chain of its first denoising step (or of all), what a plan adds up to, and the model."""
    loop = problem(workload).loop
    stages = loop_stages(loop)
    first = int(stages.script[0][2])
    found, last, n = [], None, 0
    for k, _, stage in stages.chain():
        if not everything and k != first:
            break
        if k != last:
            found.append(f"denoising step {k}")
        found.append(f"{n:5d} {stage}")
        last, n = k, n + 1
    return [*found, "", *summary(workload, stages), "", *ranges(workload, stages)]


def summary(workload: Workload, stages: StageList) -> list[str]:
    """What a plan adds up to."""
    chain = [stage for _, _, stage in stages.chain()]
    kinds = Counter(stage.kind for stage in chain)
    products = sum(depth(stage) * stage.co * stage.h for stage in chain)
    return [
        f"{workload.name}: {len(chain)} stages one after another, {kinds[Kind.CONV]} of them convolutions; "
        f"{len(stages.stages)} different ones, {len(stages.script)} entries of the script",
        f"{sum(stage.cut for stage in chain)} of them are cut among the blocks of a cluster, which tell each other",
        f"{stages.arena * 4 / 1024:.0f} KiB of memory to work in for each trajectory",
        f"{products * workload.batch / 1e9:.1f} billion products, "
        f"{sum(weight_bytes(stage, 2) for stage in chain) / 1e6:.0f} MB of weights read in two bytes a number",
    ]


def ranges(workload: Workload, stages: StageList) -> list[str]:
    """The model's ranges and what they assume."""
    rows = [["run as", "model, H100 or H200"]]
    rows += [[way, str(range_)] for way, range_ in modelled(stages, workload.batch).items()]
    assumed = [["assumed", "least", "most", "because"]]
    assumed += [[name, f"{one.low:g}", f"{one.high:g}", one.why] for name, one in CONSTANTS.items()]
    return [*aligned(rows), "", *aligned(assumed), "", "A model is no measurement: none of this has run on a GPU."]


if __name__ == "__main__":
    sys.exit(main())
