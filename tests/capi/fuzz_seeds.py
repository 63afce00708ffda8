"""Small bundles of every kind, which fuzz_bundle.cc changes: ``python -m capi.fuzz_seeds FOLDER``."""

import sys
from pathlib import Path

import diffuser_fast as dfx
from capi.checkpoints import KINDS, planner

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    made = [planner(guided=bool(i % 2), kind=kind, attention=i == 0, n_steps=2) for i, kind in enumerate(KINDS)]
    made += [planner(precision="bf16", n_steps=2), planner(precision="float32-close", batch_size=1, n_steps=2)]
    made += [planner(precision="int8", n_steps=2)]
    for i, one in enumerate(made):
        dfx.export(one, folder / f"{i}.dfb", horizons=[] if one.loop.guide else [16])
