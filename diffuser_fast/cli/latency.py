"""An engine beside torch eager of the same network, measured there and then: what `demo` shows."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.conditions import parse_conditions
from ..planner import Planner
from ..settings import usable_cores

PERCENTILES = (50, 90)  # there are a dozen calls of the slower side: too few to tell a p99
SETTLE = 0.02  # seconds between the two, so that one's idle threads do not spin beside the other
FEWEST = 3  # calls of each, if they are not absurdly long
LONG = 250.0  # milliseconds: a call that does not care what is in the cache


def engine_vs_eager(planner: Planner, conditions: Mapping[int, Any], seconds: float = 4.0) -> list[dict[str, Any]]:
    """Plan from ``conditions`` (one situation) with the planner and with torch eager, in turns, for about ``seconds``.

    Rows ``{name, p50_ms, p90_ms, count}``, the engine first; without torch the engine alone. Both have the same number
    of threads and both draw their own noise. The planner's episode starts anew afterwards (``planner.reset()``).
    """
    sides: dict[str, Callable[[], Any]] = {f"diffuser-fast ({planner.backend})": lambda: planner.plan(conditions)}
    if importlib.util.find_spec("torch") is None:
        return _rows(_in_turns(sides, seconds))
    from .eager_loop import EagerLoop, threads

    loop = planner.loop
    eager = EagerLoop(planner.checkpoint, loop, planner.batch_size)
    given, situations = parse_conditions(conditions, loop.horizon, planner.checkpoint.normalizers)
    if situations is not None:
        raise ValueError("conditions: one situation is timed, not several at once")
    sides["torch eager"] = lambda: eager(given)
    before = threads(planner.threads or len(usable_cores()))
    try:
        return _rows(_in_turns(sides, seconds))
    finally:
        threads(**before)
        planner.reset()


def _in_turns(sides: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of every counted call of every side. Turns go round until each side has had its share of ``seconds``
    and at least ``FEWEST`` calls; on a machine too busy for that, until three times ``seconds`` are over."""
    began, share = time.perf_counter(), seconds / len(sides)
    last = {name: _timed(call) for name, call in sides.items()}  # warm-up: memory is touched, threads are started
    taken: dict[str, list[float]] = {name: [] for name in sides}
    while any(len(ms) < FEWEST or sum(ms) < share * 1e3 for ms in taken.values()):
        for name, call in sides.items():
            time.sleep(SETTLE)
            if last[name] < LONG:
                call()  # the other side's weights are in the cache; a control loop would find its own
            turn = 0.0
            while turn < share / FEWEST * 1e3:  # short calls are repeated, for the sake of their tail
                last[name] = _timed(call)
                taken[name].append(last[name])
                turn += last[name]
        if time.perf_counter() - began > 3 * seconds:
            break
    return taken


def _timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


def _rows(taken: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        {"name": name, **{f"p{p}_ms": float(np.percentile(ms, p)) for p in PERCENTILES}, "count": len(ms)}
        for name, ms in taken.items()
    ]
