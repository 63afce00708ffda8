"""Objects of the original's relatives beside what ``accelerate`` makes of them: ``python -m bench.relatives``.

The libraries' own where these are installed (make test-libraries installs two), else the look-alikes of tests/oracle in
torch. Networks have the sizes of released configurations and random weights; a call is the object's own, with all that
it does around its loop. Before anything is timed, accelerate compares a plan of each.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

import diffuser_fast as dfx

from . import machine
from .console import Console
from .peers import Settings
from .records import Log, Sheet
from .repetitions import FULL, QUICK, Repetitions, Timed, interleave
from .stats import percentile, ratio_of_medians

sys.path.insert(0, str(machine.ROOT / "tests"))
from oracle import libraries
from oracle import relative_objects as alike

HOPPER = {"levels": (32, 64, 128, 256), "o": 11}
COLUMNS = ["object", "whose", "a call", "its own, ms", "accelerated, ms", "times faster", "at least", "at most"]
Entry = tuple[str, str, str, Any, Callable[[Any], Any]]  # the first three columns, the object, and a call of it


def installed(name: str) -> str | None:
    """A library and its version, if it is here."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return None


def objects() -> Iterator[Entry]:
    """One at a time, for some are large."""
    obs, own = np.full(11, 0.3, np.float32), installed("diffusers")
    made = (
        libraries.value_guided_pipeline(HOPPER["levels"], 20, 11, 3)
        if own
        else alike.pipeline(**HOPPER, a=3, n_train=20)
    )
    asked = {"batch_size": 64, "planning_horizon": 32}
    yield "ValueGuidedRLPipeline", own or "look-alike", "64 plans, 20 steps, guided", made, lambda p: p(obs, **asked)

    prior = torch.zeros(64, 32, 13)
    prior[:, 0, :11] = 0.3
    asked = {"n_samples": 64, "sample_steps": 20, "w_cg": 0.1, "temperature": 0.5}
    made = alike.agent(**HOPPER, horizon=32, n_train=20, n_steps=20)
    yield "DiscreteDiffusionSDE", "look-alike", "64 plans, 20 steps, guided", made, lambda p: p.sample(prior, **asked)

    seen, levels = {"obs": torch.full((1, 2, 20), 0.3)}, (256, 512, 1024)
    made = alike.lowdim_policy(levels=levels, horizon=16, o=20, width=256, n_train=100)
    yield "DiffusionUnetLowdimPolicy", "look-alike", "a chunk, 100 steps", made, lambda p: p.predict_action(seen)

    if own := installed("lerobot"):
        made = libraries.diffusion_policy_of_lerobot(
            14, 14, 2, horizon=16, down_dims=levels, noise_scheduler_type="DDIM", num_inference_steps=10
        )
        batch = {name: torch.full((1, 14), 0.3) for name in ("observation.state", "observation.environment_state")}

        def chunk(policy: Any) -> torch.Tensor:
            policy.reset()
            return policy.select_action(batch)

        yield "DiffusionPolicy", own, "a chunk, 10 steps of DDIM", made, chunk

    known, returns = {0: torch.full((1, 11), 0.3)}, torch.tensor([[0.9]])
    made = alike.decision_diffusion(levels=(128, 512, 1024), horizon=100, n=20, o=11)
    yield (
        "GaussianInvDynDiffusion",
        "look-alike",
        "a plan, 20 steps, twice",
        made,
        lambda p: p.conditional_sample(known, returns),
    )


def measured(entry: Entry, how: Repetitions, threads: int) -> list[Any]:
    """A row of the sheet."""
    *names, original, call = entry
    both = {"own": original, "ours": dfx.accelerate(original, threads=threads)}
    timed = {name: Timed(lambda one=one: call(one), Settings().on.lap) for name, one in both.items()}
    for one in timed.values():
        one.warm_up(how)
    taken = interleave({name: lambda one=one: one.turn(how) for name, one in timed.items()}, how)
    ratio = ratio_of_medians(taken["own"], taken["ours"])
    return [*names, percentile(taken["own"], 50), percentile(taken["ours"], 50), ratio.value, ratio.low, ratio.high]


def main() -> None:
    """Measure all objects, interleaved with what they become, and append a sheet to the records."""
    parser = argparse.ArgumentParser(description=main.__doc__, prog="python -m bench.relatives")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="part of an object's name")
    parser.add_argument("--quick", action="store_true", help="in a few seconds each, and nothing is recorded")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load, console = os.getloadavg()[0], Console()
    with machine.Quiet() as quiet:
        rows = [
            measured(e, QUICK if options.quick else FULL, options.threads) for e in objects() if options.only in e[0]
        ]
    sheet = Sheet("relatives", f"{options.threads} threads", COLUMNS, rows, quiet.others, quiet.warning)
    if not options.quick:
        log = Log(command=" ".join(["python -m bench.relatives", *sys.argv[1:]]), clock="cpu", threads=options.threads,
                  isa=None, quick=False, load=load)  # fmt: skip
        log.append(sheet)
    for row in [COLUMNS, *rows]:
        console.say("  ".join(f"{value:26.4g}" if isinstance(value, float) else f"{value!s:26}" for value in row))


if __name__ == "__main__":
    main()
