"""A case: a workload through every candidate, each in a process of its own, judged, then measured in turns."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from . import machine
from .ground_truth import GroundTruth
from .peers import Candidate, Settings
from .problem import problem
from .records import Case, Result
from .remote import Failure, Remote
from .repetitions import Repetitions, interleave
from .stats import Calls, latency, percentile, ratio_of_medians
from .workloads import Workload

HOURS = 2.0 * 3600  # that one candidate may take to get ready, where nobody says otherwise


class Side:
    """One candidate on one workload, in its process."""

    def __init__(self, candidate: Candidate, workload: Workload, settings: Settings) -> None:
        self.candidate, self.settings, self.problem = candidate, settings, problem(workload)

    def ready(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Its answer, and what a result says of how it was made ready."""
        began = time.perf_counter()
        made = self.candidate.ready(self.problem, self.settings)
        took = time.perf_counter() - began
        self.timed = self.settings.on.timed(made.run, made.loop)
        return made.answer((made.check or made.run)()), {"note": made.note, "ready_s": took}

    def warm_up(self, how: Repetitions) -> dict[str, Any]:
        """What a result says of its memory."""
        for timed in self.timed.values():
            timed.warm_up(how)
        gc.collect()
        gc.disable()  # it waits until all is measured
        return {"peak_mib": machine.peak_mib(), "loads_torch": "torch" in sys.modules}

    def turn(self, name: str, how: Repetitions) -> list[float]:
        """Milliseconds of every call of one turn."""
        return self.timed[name].turn(how, how.ours if self.candidate.ours else 1)

    def cpu_seconds(self) -> float:
        """Of this process so far."""
        return time.process_time()


def measure(
    workload: Workload, candidates: Sequence[Candidate], settings: Settings, how: Repetitions,
    limit: Callable[[], float] = lambda: HOURS,
) -> Case:  # fmt: skip
    """One workload's case, with a result for each candidate. limit: seconds that the next of them may take."""
    given, results = problem(workload), {}
    with ExitStack() as stack:
        truth = GroundTruth(given, settings.on.device)
        sides: dict[str, Remote] = {}
        for candidate in candidates:
            result, name = Result(candidate.name, candidate.ours, candidate.why_not(given, settings)), candidate.name
            if result.why_not is None:
                sides[name] = stack.enter_context(Remote(Side, candidate, workload, settings))
                result = _prepare(sides[name], result, truth, how, limit() - how.budget)
                if result.why_not is not None:
                    sides.pop(name).close()
            results[name] = result
        quiet, taken = machine.Quiet(lambda: _cpu_seconds(sides.values())), {}
        if sides:
            with quiet:
                taken = _take(sides, settings.on.names, results, how)
    host = {name: taken[name, "host"] for name in results if (name, "host") in taken}
    peers = [name for name in host if not results[name].ours]
    best = min(peers, key=lambda name: percentile(host[name], 50), default=None)
    for name in host:
        ratio = ratio_of_medians(host[best], host[name]) if best else None
        device = taken.get((name, "device"))
        results[name] = replace(
            results[name], **latency(host[name]), device_p50_ms=device and percentile(device, 50),
            speedup=ratio and ratio.value, speedup_low=ratio and ratio.low, speedup_high=ratio and ratio.high,
        )  # fmt: skip
    return Case(
        workload.name, given.flops, given.weight_bytes, best, quiet.others, quiet.warning, list(results.values())
    )


def _cpu_seconds(sides: Iterable[Remote]) -> float:
    """Of all that live: one that died in silence is found in its next turn."""
    total = 0.0
    for side in sides:
        with suppress(Failure):
            total += side.call("cpu_seconds")
    return total


def _prepare(side: Remote, result: Result, truth: GroundTruth, how: Repetitions, limit: float) -> Result:
    """A candidate made ready, judged by its first answer, and warm. What fails says so and is not timed."""
    try:
        answer, facts = side.call("ready", limit=limit)
        verdict = truth.judge(answer)
        result = replace(result, **facts, **vars(verdict))
        if verdict.exactness == "wrong":
            return replace(result, why_not=f"its answer is wrong by {verdict.deviation:.1%}")
        return replace(result, **side.call("warm_up", how))
    except (Failure, ValueError) as error:  # one peer's failure is a result, not the end of the suite
        return replace(result, why_not=str(error))


def _take(
    sides: dict[str, Remote], names: Sequence[str], results: dict[str, Result], how: Repetitions
) -> dict[tuple[str, str], Calls]:
    """Calls by (candidate, what is timed). Whoever dies meanwhile is taken out of the sides."""

    def turn(name: str, what: str) -> list[float] | None:
        try:
            return sides[name].call("turn", what, how) if name in sides else None
        except Failure as error:
            results[name] = replace(results[name], why_not=str(error))
            sides.pop(name).close()
            return None

    taken = interleave({(n, what): partial(turn, n, what) for n in sides for what in names}, how)
    return {key: calls for key, calls in taken.items() if key[0] in sides}
