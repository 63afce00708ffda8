"""Whether an answer is right: its error against float64, by the project's own rule. All judging of bench/ is here.

The rule is ``judge`` of diffuser_fast/conformance, for engines and peers alike: "exact" or "close". Beyond these an
answer may still be good ("fast": its deviation is stated) or wrong, and what is wrong is not timed.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import diffuser_fast
from diffuser_fast import backends
from diffuser_fast.backends import Seeded
from diffuser_fast.conformance import EXACT, FACTORS, REFERENCE, LoopCase, OpCase, Target, judge, run_loops, run_ops

from .machine import SCRATCH
from .problem import Problem

WRONG = 0.05  # root mean square error, as a part of the root mean square of the answer
CLASSES = ("exact", "close", "fast", "wrong")
KEPT = 10**9  # operations of a call, from which its right answer is kept
AGREED = 1e-4  # of engines' plans from the same seed, in normalised units


@dataclass(frozen=True)
class Judgement:
    """exactness: one of ``CLASSES``. deviation: relative root mean square error against float64. over: the error as a
    multiple of what "exact" allows. Each is that of the worst output."""

    exactness: str
    deviation: float
    over: float


class GroundTruth:
    """The right answers of one problem: the reference's in float64, and in float32 what that precision costs.

    device: where the reference runs. On a GPU it does so in IEEE arithmetic: a plan of 1024 takes minutes on a CPU.
    """

    def __init__(self, problem: Problem, device: str = "cpu") -> None:
        kept = _kept(problem, device, partial(_computed, problem, device))
        names = [name.removeprefix("exact ") for name in kept if name.startswith("exact ")]
        self.exact, self.float32 = ({name: kept[f"{of} {name}"] for name in names} for of in ("exact", "float32"))

    def judge(self, found: Mapping[str, NDArray]) -> Judgement:
        """The verdict on one candidate's answer; ValueError if it lacks an output or has another shape."""
        if set(found) != set(self.exact):
            raise ValueError(f"answer: found {sorted(found)}, expected {sorted(self.exact)}")
        parts = [self._judge(name, array) for name, array in found.items()]
        worst = max((part.exactness for part in parts), key=CLASSES.index)
        return Judgement(worst, max(part.deviation for part in parts), max(part.over for part in parts))

    def _judge(self, name: str, found: NDArray) -> Judgement:
        exact = self.exact[name]
        verdicts = [judge([found], [self.float32[name]], [exact], exactness=c) for c in CLASSES[:2]]
        deviation = verdicts[0].rms / (float(np.sqrt(np.mean(np.square(exact)))) or 1.0)
        passed = [verdict.exactness for verdict in verdicts if verdict.passed]
        exactness = passed[0] if passed else "fast" if deviation <= WRONG else "wrong"
        return Judgement(exactness, deviation, verdicts[0].ratio)


def _computed(problem: Problem, device: str) -> dict[str, NDArray]:
    import torch

    found = {}
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for of, target in (("exact", EXACT), ("float32", REFERENCE)):
            engine = target.ready(problem.loop, problem.workload.batch, device)
            answer = problem.answer(engine(problem.inpainting, problem.tape, x=problem.x))
            found |= {f"{of} {name}": array for name, array in answer.items()}
    return found


def _kept(problem: Problem, device: str, computed: Callable[[], dict[str, NDArray]]) -> dict[str, NDArray]:
    """What takes minutes to compute is kept on disk, by a digest of the problem and of the code behind it."""
    if problem.flops < KEPT:
        return computed()
    digest = hashlib.sha256(f"{problem.workload} {device}".encode())
    for part in ("core", "conformance", "backends/reference.py"):
        found = Path(diffuser_fast.__file__).parent / part
        for source in sorted(found.rglob("*.py")) or [found]:
            digest.update(source.read_bytes())
    networks = [network for network in (problem.loop.denoiser, problem.loop.guide) if network is not None]
    arrays = [array for network in networks for array in network.weights.values()]
    for array in (*arrays, problem.tape, problem.inpainting.values, *([] if problem.x is None else [problem.x])):
        digest.update(array.tobytes())
    path = SCRATCH / "truth" / f"{digest.hexdigest()[:32]}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, **computed())
        part.replace(path)
    with np.load(path) as kept:
        return dict(kept)


def bounded(exactness: str) -> bool:
    """Whether a class promises a bound of its error; the others state their deviation."""
    return exactness in FACTORS


def case_error(target: Target, case: OpCase | LoopCase, exactness: str) -> float:
    """The error of a conformance case, worst output, as a multiple of what the class allows (or is not yet wrong)."""
    if bounded(exactness):
        run = run_loops if isinstance(case, LoopCase) else run_ops
        return max(one.verdict.ratio for one in run(target, [case], seeds=(0,)))
    pairs = zip(target.evaluate(case), EXACT.evaluate(case), strict=True)
    return max(np.linalg.norm(found - exact) / (np.linalg.norm(exact) or 1.0) for found, exact in pairs) / WRONG


def seeded_error(problem: Problem, target: Target, exactness: str) -> float:
    """The same of plans whose noise the engine draws: beside the C++ engine's, where there is none the reference's."""
    noise = Seeded(7, 1)
    other = "cpu" if backends.why_not("cpu", problem.loop) is None else "reference"
    ours = target.ready(problem.loop, 4, target.device)(problem.inpainting, noise).x
    theirs = Target(other).ready(problem.loop, 4, None)(problem.inpainting, noise).x
    return np.abs(ours - theirs).max() / _agreed(exactness)


def traced_error(folder: Path, target: Target, exactness: str) -> float:
    """The same of a plan recorded from the original's code (tests/golden), through ``load`` and ``Planner``."""
    import diffuser_fast as dfx

    with np.load(folder / "golden.npz") as file:
        trace = dict(file)
    where = {"precision": target.precision, "device": target.device}
    planner = dfx.Planner(dfx.load(folder), target.backend, batch_size=trace["tape"].shape[1], **where)
    given = {int(t): obs for t, obs in zip(trace["cond_keys"], trace["cond_vals"], strict=True)}
    with warnings.catch_warnings(action="ignore"):  # mazes were recorded from starts outside their statistics
        plans, normalizers = planner.plan(given, noise=trace["tape"]), planner.checkpoint.normalizers
    errors = [np.abs(plans.values - trace["values"]).max() / (np.abs(trace["values"]).max() or 1.0)]
    for name in ("actions", "observations"):
        normalize = getattr(normalizers, name).normalize
        errors.append(np.abs(normalize(getattr(plans, name)) - normalize(trace[name])).max())
    return max(errors) / _agreed(exactness)


def float64_error(problem: Problem, device: str) -> float:
    """The same of the reference in float64 on the device, which judges the suite's answers there, beside the CPU's."""
    engines = (EXACT.ready(problem.loop, problem.workload.batch, on) for on in (device, "cpu"))
    there, here = (engine(problem.inpainting, problem.tape).x for engine in engines)
    return np.abs(there - here).max() / (1e-9 * np.abs(here).max())


def _agreed(exactness: str) -> float:
    return AGREED if bounded(exactness) else WRONG
