"""``python -m bench.relatives``: objects of the original's relatives beside what ``accelerate`` makes of them.

The libraries' own where these are installed (make test-libraries installs two), else the look-alikes of tests/oracle in
torch. Networks have the sizes of released configurations and random weights; a plan is compared before it is timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

import diffuser_fast as dfx

from . import machine
from .peers import Settings
from .recording import recording
from .records import RESULTS, Sheet
from .repetitions import FULL, Repetitions, Timed, interleave
from .stats import percentile, ratio_of_medians

sys.path.insert(0, str(machine.ROOT / "tests"))
from oracle import libraries
from oracle import relative_objects as alike

COLUMNS = ["object", "whose", "a call", "its own ms", "accelerated ms", "times faster", "at least", "at most"]
HOPPER, ROBOT = {"levels": (32, 64, 128, 256), "o": 11}, (256, 512, 1024)
Entry = tuple[str, str, str, Any, Callable[[Any], Any]]  # the first three columns, the object, and a call of it


def entries() -> Iterator[Entry]:
    """One at a time, for some are large."""
    obs, whose = np.full(11, 0.3, np.float32), "diffusers" if find_spec("diffusers") else "look-alike"
    made = alike.pipeline if whose == "look-alike" else libraries.value_guided_pipeline
    one = made(n_train=20, a=3, **HOPPER)
    yield "ValueGuidedRLPipeline", whose, "best of 64, 20 guided steps", one, lambda p: p(obs, 64, 32)
    prior, asked = torch.full((64, 32, 13), 0.3), {"n_samples": 64, "sample_steps": 20, "w_cg": 0.1, "temperature": 0.5}
    one = alike.agent(**HOPPER, horizon=32, n_train=20)
    yield "DiscreteDiffusionSDE", "look-alike", "64 plans, 20 guided steps", one, lambda p: p.sample(prior, **asked)
    seen, one = torch.full((1, 2, 20), 0.3), alike.lowdim_policy(levels=ROBOT, horizon=16, o=20, width=256, n_train=100)
    yield "DiffusionUnetLowdimPolicy", "look-alike", "100 steps", one, lambda p: p.predict_action({"obs": seen})
    if find_spec("lerobot"):
        ddim = {"noise_scheduler_type": "DDIM", "num_inference_steps": 10}
        one = libraries.diffusion_policy_of_lerobot(14, 14, 2, horizon=16, down_dims=ROBOT, **ddim)
        batch = {name: torch.full((1, 14), 0.3) for name in ("observation.state", "observation.environment_state")}
        yield "DiffusionPolicy", "lerobot", "10 steps of DDIM", one, lambda p: (p.reset(), p.select_action(batch))
    known, returns = {0: torch.full((1, 11), 0.3)}, torch.tensor([[0.9]])
    one = alike.decision_diffusion(levels=(128, 512, 1024), horizon=100, n=20, o=11)
    yield "GaussianInvDynDiffusion", "look-alike", "20 steps of two passes", one, lambda p: p(known, returns=returns)


def row(entry: Entry, how: Repetitions, threads: int) -> list[Any]:
    """Of the sheet: the object's own calls and ours, interleaved."""
    *names, original, call = entry
    both = {"own": original, "ours": dfx.accelerate(original, threads=threads)}
    timed = {name: Timed(lambda one=one: call(one), Settings().on.lap) for name, one in both.items()}
    for one in timed.values():
        one.warm_up(how)
    taken = interleave({name: lambda one=one: one.turn(how) for name, one in timed.items()}, how)
    ratio = ratio_of_medians(taken["own"], taken["ours"])
    return [*names, *(percentile(taken[name], 50) for name in both), ratio.value, ratio.low, ratio.high]


def main() -> None:
    """Append a sheet of all objects to the records, and show it."""
    parser = argparse.ArgumentParser(description=main.__doc__, prog="python -m bench.relatives")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", metavar="TEXT", help="part of an object's name")
    parser.add_argument("--results", default=RESULTS, metavar="FOLDER", help="of the records")
    parser.set_defaults(record=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with recording("bench.relatives", None, options.threads, options) as kept:
        with machine.Quiet() as quiet:
            rows = [row(entry, FULL, options.threads) for entry in entries() if options.only in entry[0]]
        kept(Sheet("relatives", f"{options.threads} threads", COLUMNS, rows, quiet.others, quiet.warning))


if __name__ == "__main__":
    main()
